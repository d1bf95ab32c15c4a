"""What a model is made for, as its family and its folder say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcm.backbones.base import BackboneSpec
from mcm.backbones.json_files import is_number, is_whole
from mcm.backbones.latents import VideoCodec
from mcm.backbones.text import TextEncoder
from mcm.diffusion import Prediction
from mcm.errors import UserError, nearest

SAMPLING = "sampling"
"""Key of a folder's `mcm.json` that says how to sample a merged student."""
TRAINED = "scheduler"
"""Key in there of the scheduler's configuration that it was trained with."""


@dataclass(frozen=True)
class Native:
    """What a model is made for, as its family says and a folder's `mcm.json` may change.

    Attributes:
        frames: Frames of a clip.
        height: In pixels; ``None`` takes it from the network's configuration.
        width: In pixels; ``None`` as for the height.
        fps: Frames per second.
        guidance: Best guidance scale, in diffusers' convention.
        guidance_range: Range of the paper's w for distillation (diffusers' scale − 1).
        motion_adapter: Folder of a `MotionAdapter`, relative to the model's, or its name on a hub
            (AnimateDiff).
        low_noise_guidance: Best guidance scale of the expert for the less noisy timesteps, where
            there are two (Wan 2.2 A14B).
        file: The `mcm.json` that changes them, for messages.
    """

    frames: int
    height: int | None
    width: int | None
    fps: int
    guidance: float
    guidance_range: tuple[float, float]
    motion_adapter: str | None = None
    low_noise_guidance: float | None = None
    file: Path | None = None

    def sized(self, side: int) -> Native:
        """Return the same with a square's height and width where there is none."""
        return replace(self, height=self.height or side, width=self.width or side)

    def spec(
        self,
        family: str,
        prediction: Prediction,
        codec: VideoCodec,
        text: TextEncoder,
        lora_targets: tuple[str, ...],
        spatial_patch: int = 1,
        temporal_patch: int = 1,
        boundary: float | None = None,
    ) -> BackboneSpec:
        """Return the specification of a model with these components.

        Raises:
            UserError: There is guidance for a second expert and none of those, or the sizes do not
                fit the latents.
        """
        if boundary is None and self.low_noise_guidance is not None:
            raise UserError(
                f"{self.file}: low_noise_guidance: this model has one network for all timesteps; "
                "take it out"
            )
        assert self.height is not None and self.width is not None
        scale = self.guidance if self.low_noise_guidance is None else self.low_noise_guidance
        spec = BackboneSpec(
            family=family,
            prediction=prediction,
            latent_channels=codec.latent_channels,
            spatial_factor=codec.spatial_factor,
            temporal_factor=codec.temporal_factor,
            frames=self.frames,
            height=self.height,
            width=self.width,
            fps=self.fps,
            guidance_range=self.guidance_range,
            guidance=self.guidance,
            lora_targets=lora_targets,
            max_tokens=text.max_tokens,
            spatial_patch=spatial_patch,
            temporal_patch=temporal_patch,
            low_noise=None if boundary is None else (boundary, scale),
        )
        if self.height % spec.size_step or self.width % spec.size_step:
            raise UserError(
                f"{self.file}: height and width: got {self.height} and {self.width}, expected "
                f"multiples of {spec.size_step}"
            )
        if (self.frames - 1) % spec.frame_step:
            raise UserError(
                f"{self.file}: frames: got {self.frames}, expected one more than a multiple of "
                f"{spec.frame_step}"
            )
        return spec

    def changed(self, values: Mapping[str, Any], path: Path) -> Native:
        """Return the same with the values of a file.

        Raises:
            UserError: A key is unknown or a value does not fit.
        """
        values = {key: value for key, value in values.items() if key != SAMPLING}
        known = list(_EXPECTED)
        for key, value in values.items():
            if key not in known:
                near = nearest(key, known)
                hint = f"; the nearest known key is {near}" if near else ""
                raise UserError(f"{path}: {key}: unknown key{hint}; known are {', '.join(known)}")
            expected, fits = _EXPECTED[key]
            if not fits(value):
                raise UserError(f"{path}: {key}: got {value!r}, expected {expected}")
        pair = values.get("guidance_range", self.guidance_range)
        span = (float(pair[0]), float(pair[1]))
        return replace(self, **{**values, "guidance_range": span, "file": path})


def _is_count(value: object) -> bool:
    return is_whole(value) and value > 0


def _is_scale(value: object) -> bool:
    return is_number(value) and value >= 0


def _is_guidance(value: object) -> bool:
    return is_number(value) and value >= 1


def _is_range(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(_is_scale(one) for one in value) and value[0] <= value[1]


_EXPECTED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "frames": ("a whole number above 0", _is_count),
    "height": ("a whole number above 0", _is_count),
    "width": ("a whole number above 0", _is_count),
    "fps": ("a whole number above 0", _is_count),
    "guidance": ("1 (none) or more", _is_guidance),
    "low_noise_guidance": ("1 (none) or more", _is_guidance),
    "guidance_range": ("two numbers, the least first", _is_range),
    "motion_adapter": (
        "a folder or OWNER/NAME of a hub",
        lambda value: isinstance(value, str),
    ),
}
