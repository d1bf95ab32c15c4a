"""From a request to an order: the one place where prompts and settings are let in."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mcm.checks import check_text, is_blank
from mcm.diffusion import few_step_timesteps
from mcm.errors import UserError
from mcm.media.save import check_alpha
from mcm.safety import guard
from mcm.sampling.edit_files import EditRequest
from mcm.sampling.options import MOST_STEPS, Settings, check_prompt, resolve
from mcm.sampling.requests import parse_size
from mcm.serving.config import ServeConfig
from mcm.serving.order import Order
from mcm.serving.source import FIELD, Source

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel

MOST_SEED = 2**32 - 1

Format = Literal["mp4", "webm", "gif", "webp", "frames", "sheet"]
Sampler = Literal["consistency", "ddim", "dpmpp_2m", "unipc", "euler"]


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
        Field(
            ge=1,
            le=MOST_STEPS,
            description="Network steps; of a student at most as many as it was trained on.",
        ),
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
    sampler: Annotated[Sampler | None, Field(description="By default the model's own.")] = None
    stochasticity: Annotated[
        float | None,
        Field(ge=0, le=1, description="How much of the noise between a student's steps is fresh."),
    ] = None
    loop: Annotated[bool, Field(description="Whether the last frame leads on to the first.")] = (
        False
    )
    alpha: Annotated[
        bool,
        Field(
            description="Whether the plain background becomes transparent, in `webp`, `frames` "
            "and `sheet`."
        ),
    ] = False
    strength: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="How much of the file `input_reference` may change, 1 for everything; "
            "0.6 by default.",
        ),
    ] = None
    format: Annotated[
        Format | None,
        Field(
            description="How the clip is written first, by default mp4, or webp with `alpha`; "
            "`frames` and `sheet` come as a zip. Every finished clip can be had in every format."
        ),
    ] = None
    preview: Annotated[
        bool, Field(description="Whether the job's events show some frames after every step.")
    ] = False


def take_in(
    request: VideoRequest, model: VideoModel, config: ServeConfig, source: Source | None = None
) -> Order:
    """Check a request against its model and the server's limits, and fill in what it left out.

    Args:
        request: What a client asks for.
        model: What shall make it.
        config: The server's limits.
        source: What shall be edited, if anything.

    Raises:
        UserError: A value is out of its range; the message begins with its field.
        Refused: The policy does not allow the prompt, which is then kept nowhere.
    """
    prompt = take_prompt(request.prompt, "prompt", config.most_prompt)
    guard.check_prompt(prompt)
    negative = check_text(request.negative_prompt, "negative_prompt")
    settings = resolve(
        model.defaults,
        model.backbone.spec,
        steps=request.steps,
        guidance=request.guidance,
        sampler=request.sampler,
        frames=None if request.seconds is None else _frames(request.seconds, model),
        size=None if request.size is None else take_size(request.size, config.most_side),
        negative_prompt=take_prompt(negative, "negative_prompt", config.most_prompt)
        if not is_blank(negative)
        else "",
        stochasticity=request.stochasticity,
        loop=request.loop,
    )
    if settings.steps > config.most_steps:
        raise UserError(f"steps: got {settings.steps}, this server makes {config.most_steps}")
    if settings.sampler == "consistency":
        check_student_steps(settings.steps, model)
    order = Order(
        model=model.name,
        prompt=prompt,
        seed=secrets.randbelow(MOST_SEED + 1) if request.seed is None else request.seed,
        fps=model.backbone.spec.fps,
        format=_format(request),
        preview=request.preview,
        alpha=request.alpha,
        strength=_strength(request, model, settings, source),
        **settings.as_dict(),
    )
    if source is not None:
        source.frames(order)
    return order


def _format(request: VideoRequest) -> str:
    format = request.format or ("webp" if request.alpha else "mp4")
    if request.alpha:
        check_alpha(format)
    return format


def _strength(
    request: VideoRequest, model: VideoModel, settings: Settings, source: Source | None
) -> float | None:
    """Return how much an edit may change; `None` where there is nothing to edit."""
    from mcm.sampling.edit import timesteps

    if source is None:
        if request.strength is not None:
            raise UserError(f"strength: there is nothing to edit; send a file as {FIELD}")
        return None
    if request.loop or request.sampler is not None:
        raise UserError(f"loop, sampler: an edit of {FIELD} has neither; leave them out")
    strength = EditRequest.strength if request.strength is None else request.strength
    timesteps(model, settings, strength)
    return strength


def check_student_steps(steps: int, model: VideoModel) -> None:
    """Check that the consistency sampler can make some steps with a model.

    Raises:
        UserError: They are more than it was trained on.
    """
    few_step_timesteps(steps, model.defaults.original_steps, model.backbone.schedule)


def take_prompt(text: str, field: str, most: int) -> str:
    """Let a prompt in: every text that a model will see passes here, and only here.

    Args:
        text: The prompt.
        field: Its name in the request.
        most: Characters that it may have.

    Raises:
        UserError: It is too long, shows nothing, or holds control characters or broken Unicode.
    """
    if len(text) > most:
        raise UserError(f"{field}: got {len(text)} characters, expected {most} or fewer")
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
