"""Live: a clip without end, sent to one viewer frame by frame as it is made."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mcm.errors import UserError
from mcm.media.images import jpeg_bytes
from mcm.media.metadata import to_text
from mcm.safety.audit import record
from mcm.safety.publishing import prepare
from mcm.sampling.clip import Clip
from mcm.sampling.options import MOST_STEPS
from mcm.serving.config import ServeConfig
from mcm.serving.intake import MOST_SEED, check_student_steps, take_prompt, take_size
from mcm.serving.models import Models

MEDIA_TYPE = "multipart/x-mixed-replace; boundary=frame"
MOST_SECONDS = 3600.0


class LiveRequest(BaseModel):
    """What a viewer asks for; what is left out is the model's own."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(min_length=1, description="What the stream shows.")]
    model: Annotated[str | None, Field(description="A served student.")] = None
    steps: Annotated[
        int | None, Field(ge=2, le=MOST_STEPS, description="Network steps of each window.")
    ] = None
    overlap: Annotated[
        int | None, Field(ge=1, le=1024, description="Frames that a window shares with the last.")
    ] = None
    size: Annotated[
        str | None,
        Field(pattern=r"^[0-9]{1,5}x[0-9]{1,5}$", description="`WIDTHxHEIGHT` in pixels."),
    ] = None
    seed: Annotated[int, Field(ge=0, le=MOST_SEED, description="Same seed, same stream.")] = 0
    seconds: Annotated[
        float, Field(gt=0, le=MOST_SECONDS, description="Length, at the clip's own rate.")
    ] = 60.0


class LiveBusyError(Exception):
    """Somebody else watches; a machine makes one stream at a time."""


class Live:
    """Makes streams, one at a time, between the batches of jobs."""

    def __init__(self, config: ServeConfig, models: Models) -> None:
        self._config, self._models = config, models
        self._stopping = threading.Event()
        self._opening = threading.Lock()
        self._shown: weakref.ref[Broadcast] | None = None

    def windows(self, request: LiveRequest) -> Iterator[Clip]:
        """Check a request and return its windows, none of which is made yet.

        Raises:
            UserError: A value is out of its range, or the model cannot stream.
        """
        model = self._models[request.model].model
        prompt = take_prompt(request.prompt, "prompt", self._config.most_prompt)
        size = None if request.size is None else take_size(request.size, self._config.most_side)
        if request.steps is not None and request.steps > self._config.most_steps:
            most = self._config.most_steps
            raise UserError(f"steps: got {request.steps}, this server makes {most}")
        windows = model.stream(
            prompt, seed=request.seed, overlap=request.overlap, steps=request.steps, size=size
        )
        if request.steps is not None:
            check_student_steps(request.steps, model)
        return windows

    def open(self, request: LiveRequest, owner: str) -> Broadcast:
        """Return a stream for a viewer.

        Args:
            request: What to show.
            owner: Whose request it is.

        Raises:
            UserError: As `windows`.
            LiveBusyError: Another viewer's stream is not over.
        """
        windows = self.windows(request)
        with self._opening:
            shown = self._current()
            if shown is not None and not shown.is_over:
                raise LiveBusyError
            broadcast = Broadcast(
                owner, windows, request.seconds, self._models.turn, self._stopping
            )
            self._shown = weakref.ref(broadcast)
        record("streamed", seed=request.seed, seconds=request.seconds)
        return broadcast

    def end(self, owner: str) -> None:
        """End an owner's stream; a browser goes on loading a picture that left its page."""
        shown = self._current()
        if shown is not None and shown.owner == owner:
            shown.is_over = True

    def _current(self) -> Broadcast | None:
        return self._shown() if self._shown else None

    def close(self) -> None:
        """End all streams."""
        self._stopping.set()


class Broadcast:
    """One stream to one viewer: the next window is made while one is shown.

    Attributes:
        owner: Who asked for it.
        is_over: Whether it has ended, or its viewer has left.
    """

    def __init__(
        self,
        owner: str,
        windows: Iterator[Clip],
        seconds: float,
        turn: threading.Lock,
        stopping: threading.Event,
    ) -> None:
        self._windows, self._seconds = windows, seconds
        self._turn, self._stopping = turn, stopping
        self.owner, self.is_over = owner, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield parts of a `multipart/x-mixed-replace` body, no faster than the clip's rate."""
        following = asyncio.create_task(asyncio.to_thread(self._make))
        try:
            due, shown = 0.0, 0.0
            while shown < self._seconds and not self._has_to_end():
                try:
                    clip = await following
                except UserError:  # the policy refused it, and has noted that
                    break
                following = asyncio.create_task(asyncio.to_thread(self._make))
                left = max(1, round((self._seconds - shown) * clip.fps))
                for frame in islice(clip.frames, left):
                    if self._has_to_end():
                        break
                    due = max(due, time.monotonic())
                    await asyncio.sleep(due - time.monotonic())
                    yield part(await asyncio.to_thread(jpeg_bytes, frame))
                    due, shown = due + 1 / clip.fps, shown + 1 / clip.fps
            yield b"--frame--\r\n"
        finally:
            following.cancel()
            self.is_over = True

    def _has_to_end(self) -> bool:
        return self.is_over or self._stopping.is_set()

    def _make(self) -> Clip:
        """Make a window when it is its turn, and mark its frames as all that leaves is marked."""
        with self._turn:
            clip = next(self._windows)
        facts = {name: value for name, value in clip.metadata().items() if name != "window"}
        marked = prepare(clip.frames, to_text(facts), facts).frames
        return Clip(marked, clip.fps, clip.prompt, clip.seed, clip.settings, clip.timings)


def part(image: bytes) -> bytes:
    """Return a JPEG as one part of the body."""
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
    return head.encode() + image + b"\r\n"
