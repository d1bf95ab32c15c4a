"""From a request to an order: the one place where prompts and settings are let in."""

from __future__ import annotations

import secrets
import unicodedata
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mcm.errors import UserError
from mcm.safety import guard
from mcm.sampling.options import MOST_STEPS, check_prompt, resolve
from mcm.sampling.requests import parse_size
from mcm.serving.config import ServeConfig
from mcm.serving.order import Order

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel

MOST_SEED = 2**32 - 1
_SPACES = "\t\n\r"

Format = Literal["mp4", "webm", "gif", "webp", "frames", "sheet"]


class VideoRequest(BaseModel):
    """What a client asks for; what it leaves out is the model's own."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[
        str, Field(min_length=1, description="What the video shows; no control characters.")
    ]
    model: Annotated[
        str | None, Field(description="One of `/v1/models`; by default the first of them.")
    ] = None
    seconds: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?$",
            description="Length of the clip, rounded to the nearest that the model can make.",
        ),
    ] = None
    size: Annotated[
        str | None,
        Field(pattern=r"^[0-9]{1,5}x[0-9]{1,5}$", description="`WIDTHxHEIGHT` in pixels."),
    ] = None
    steps: Annotated[
        int | None,
        Field(ge=1, le=MOST_STEPS, description="Network steps: 1 to 8 for a student."),
    ] = None
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=MOST_SEED,
            description="Same seed and settings, same clip; by default one is drawn.",
        ),
    ] = None
    guidance: Annotated[
        float | None, Field(ge=1, le=100, description="Guidance scale, 1 for none.")
    ] = None
    negative_prompt: Annotated[str, Field(description="What guidance steers away from.")] = ""
    format: Annotated[
        Format,
        Field(
            description="How the clip is written first; `frames` and `sheet` come as a zip. Every "
            "finished clip can be had in every format."
        ),
    ] = "mp4"
    preview: Annotated[
        bool, Field(description="Whether the job's events show some frames after every step.")
    ] = False


def take_in(request: VideoRequest, model: VideoModel, config: ServeConfig) -> Order:
    """Check a request against its model and the server's limits, and fill in what it left out.

    Raises:
        UserError: A value is out of its range; the message begins with its field.
        Refused: The policy does not allow the prompt, which is then kept nowhere.
    """
    prompt = take_prompt(request.prompt, "prompt", config.most_prompt)
    guard.check_prompt(prompt)
    negative = request.negative_prompt
    settings = resolve(
        model.defaults,
        model.backbone.spec,
        steps=request.steps,
        guidance=request.guidance,
        frames=None if request.seconds is None else _frames(request.seconds, model),
        size=None if request.size is None else take_size(request.size, config.most_side),
        negative_prompt=take_prompt(negative, "negative_prompt", config.most_prompt)
        if negative.strip()
        else "",
    )
    if settings.steps > config.most_steps:
        raise UserError(f"steps: got {settings.steps}, this server makes {config.most_steps}")
    return Order(
        model=model.name,
        prompt=prompt,
        seed=secrets.randbelow(MOST_SEED + 1) if request.seed is None else request.seed,
        steps=settings.steps,
        guidance=settings.guidance,
        frames=settings.frames,
        fps=model.backbone.spec.fps,
        height=settings.height,
        width=settings.width,
        negative_prompt=settings.negative_prompt,
        format=request.format,
        preview=request.preview,
    )


def take_prompt(text: str, field: str, most: int) -> str:
    """Let a prompt in: every text that a model will see passes here, and only here.

    Args:
        text: The prompt.
        field: Its name in the request.
        most: Characters that it may have.

    Raises:
        UserError: It is empty, too long, or holds control characters or broken Unicode.
    """
    if len(text) > most:
        raise UserError(f"{field}: got {len(text)} characters, expected {most} or fewer")
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in _SPACES:
            raise UserError(f"{field}: holds the control character U+{ord(letter):04X}; remove it")
    return check_prompt(text, field)


def take_size(text: str, most: int) -> tuple[int, int]:
    """Return (height, width) of ``WIDTHxHEIGHT``.

    Raises:
        UserError: A side is longer than ``most`` pixels.
    """
    height, width = parse_size(text)
    if max(height, width) > most:
        raise UserError(f"size: got {text}, expected {most} pixels or less in height and width")
    return height, width


def _frames(seconds: str, model: VideoModel) -> int:
    """Return the number of frames that the model can make and that comes next to a length."""
    spec, most = model.backbone.spec, longest(model)
    if float(seconds) * spec.fps >= most + 1:
        raise UserError(f"seconds: got {seconds}, expected {most / spec.fps:g} or less")
    steps = round((float(seconds) * spec.fps - 1) / spec.frame_step)
    return min(most, 1 + max(0, steps) * spec.frame_step)


def longest(model: VideoModel) -> int:
    """Return the most frames that a job may ask of a model: twice as many as it was trained on."""
    spec = model.backbone.spec
    return 1 + (2 * spec.frames - 1) // spec.frame_step * spec.frame_step
