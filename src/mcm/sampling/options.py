"""The choices of one generation: what the user said, checked, or else the model's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mcm.checks import check_frames, check_number, check_size, check_text, check_whole, is_blank
from mcm.errors import UserError

if TYPE_CHECKING:
    from mcm.backbones.base import BackboneSpec

MOST_STEPS = 50
_LEAST_SEED, _MOST_SEED = -(2**63), 2**64 - 1
"""What torch takes for a seed."""


class ModelWarning(UserWarning):
    """Something of what the user gave has no effect or may disappoint."""


@dataclass(frozen=True)
class Defaults:
    """How a model likes to be sampled.

    Attributes:
        sampler: Name of its sampler.
        steps: Network steps.
        guidance: Guidance scale, 1 for none.
        original_steps: Solver grid points that a student was trained on.
        timestep_scaling: k of a student's c_skip and c_out.
        stochasticity: γ of the consistency sampler.
    """

    sampler: str
    steps: int
    guidance: float
    original_steps: int = 50
    timestep_scaling: float = 4.0
    stochasticity: float = 1.0


@dataclass(frozen=True)
class Settings:
    """The resolved choices of one generation."""

    sampler: str
    steps: int
    guidance: float
    frames: int
    height: int
    width: int
    negative_prompt: str
    stochasticity: float
    loop: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values."""
        return asdict(self)


def resolve(
    defaults: Defaults,
    spec: BackboneSpec,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    negative_prompt: str = "",
    stochasticity: float | None = None,
    loop: bool = False,
) -> Settings:
    """Fill in the model's own values and check the user's.

    Args:
        defaults: How the model likes to be sampled.
        spec: What the model is made for.
        steps: Network steps, 1 to 50.
        guidance: Guidance scale in diffusers' convention, at least 1, which is none.
        sampler: Name of a sampler, which is not checked here.
        frames: Frames of the clip.
        size: (height, width) in pixels.
        negative_prompt: What guidance steers away from.
        stochasticity: γ of the consistency sampler, 0 (none of the noise between steps is fresh)
            to 1 (all of it).
        loop: Whether the last frame leads on to the first.

    Raises:
        UserError: A value is out of its range; the message names the nearest valid ones.
    """
    height, width = (spec.height, spec.width) if size is None else _pair(size)
    check_size(height, width, spec.size_step)
    if not isinstance(sampler, str | None):
        raise UserError(f"sampler: got {sampler!r}, expected the name of one")
    return Settings(
        sampler=defaults.sampler if sampler is None else sampler,
        steps=check_steps(defaults.steps if steps is None else steps),
        guidance=check_guidance(defaults.guidance if guidance is None else guidance),
        frames=check_frames(spec.frames if frames is None else frames, spec.frame_step),
        height=height,
        width=width,
        negative_prompt=check_text(negative_prompt, "negative_prompt"),
        stochasticity=check_stochasticity(
            defaults.stochasticity if stochasticity is None else stochasticity
        ),
        loop=_check_loop(loop, spec.temporal_factor),
    )


def check_prompt(prompt: str, where: str = "prompt") -> str:
    """Return a prompt without surrounding space.

    Raises:
        UserError: It is no text, shows nothing, or holds control characters or broken Unicode.
    """
    if is_blank(check_text(prompt, where)):
        raise UserError(f"{where}: it is empty; say what the video shows")
    return prompt.strip()


def check_seed(seed: int, where: str = "seed") -> int:
    """Return a seed.

    Raises:
        UserError: It is no whole number within -2⁶³ to 2⁶⁴ - 1.
    """
    if not _LEAST_SEED <= check_whole(seed, where) <= _MOST_SEED:
        raise UserError(f"{where}: got {seed}, expected {_LEAST_SEED} to {_MOST_SEED}")
    return int(seed)


def check_steps(steps: int, where: str = "steps") -> int:
    """Return a number of steps.

    Raises:
        UserError: It is no whole number within 1 to 50.
    """
    if not 1 <= check_whole(steps, where) <= MOST_STEPS:
        raise UserError(f"{where}: got {steps}, expected 1 to {MOST_STEPS}")
    return int(steps)


def _pair(size: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
        raise UserError(f"size: got {size!r:.60}, expected (height, width) in pixels")
    return check_whole(size[0], "size"), check_whole(size[1], "size")


def check_guidance(guidance: float) -> float:
    """Return a guidance scale.

    Raises:
        UserError: It is below 1, which is none, or not finite.
    """
    if not 1 <= check_number(guidance, "guidance") < math.inf:
        raise UserError(f"guidance: got {guidance}, expected 1 (none) or more, such as 7.5")
    return float(guidance)


def _check_loop(loop: bool, temporal_factor: int) -> bool:
    if loop and temporal_factor > 1:
        raise UserError(
            "loop: this model's autoencoder decodes each frame from those before it, so that its "
            "last frame cannot lead on to the first; use a model of single frames (AnimateDiff, "
            "ModelScope)"
        )
    return loop


def check_stochasticity(stochasticity: float) -> float:
    """Return γ of the consistency sampler.

    Raises:
        UserError: It is not within 0 to 1.
    """
    if not 0 <= check_number(stochasticity, "stochasticity") <= 1:
        raise UserError(
            f"stochasticity: got {stochasticity}, expected 0 (keep the noise between steps) to 1 "
            "(all fresh)"
        )
    return float(stochasticity)
