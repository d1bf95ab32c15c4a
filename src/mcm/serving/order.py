"""What a job is to make, resolved and checked: nothing of it depends on defaults any more."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """One clip to make.

    Attributes:
        model: Name of a served model.
        prompt: What it shows.
        seed: Seed of its noise.
        steps: Network steps.
        guidance: Guidance scale, 1 for none.
        frames: Frames of the clip.
        fps: Frames per second.
        height: In pixels.
        width: In pixels.
        negative_prompt: What guidance steers away from.
        format: How the clip is written; one of `mcm.media.FORMATS`.
        preview: Whether to show some frames after every step.
        sampler: Name of the sampler.
        stochasticity: How much of the noise between a student's steps is fresh, 0 to 1.
        loop: Whether the last frame leads on to the first.
        alpha: Whether the plain background becomes transparent, in formats that can hold it.
        strength: How much of its source an edit may change; `None` where nothing is edited.
    """

    model: str
    prompt: str
    seed: int
    steps: int
    guidance: float
    frames: int
    fps: float
    height: int
    width: int
    negative_prompt: str = ""
    format: str = "mp4"
    preview: bool = False
    sampler: str | None = None
    stochasticity: float | None = None
    loop: bool = False
    alpha: bool = False
    strength: float | None = None

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / self.fps

    @property
    def size(self) -> str:
        """``WIDTHxHEIGHT`` in pixels."""
        return f"{self.width}x{self.height}"

    @property
    def group(self) -> str:
        """Text that is equal for orders that one batch can make."""
        return json.dumps([self.model, self.options()], sort_keys=True)

    def options(self) -> dict[str, Any]:
        """Return what a batch shares, as `VideoModel.generate_batch` takes it."""
        return {
            **self.edit_options(),
            "sampler": self.sampler,
            "frames": self.frames,
            "size": (self.height, self.width),
            "loop": self.loop,
        }

    def edit_options(self) -> dict[str, Any]:
        """Return what `VideoModel.edit` takes beside its source."""
        return {
            "steps": self.steps,
            "guidance": self.guidance,
            "negative_prompt": self.negative_prompt,
            "stochasticity": self.stochasticity,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the order as JSON-ready values."""
        return asdict(self)
