"""What a training step is given and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mcm.backbones.base import Condition


@dataclass(frozen=True)
class DistillBatch:
    """Clips with their prompts and, for a critic of image quality, images with theirs.

    Attributes:
        latents_bcthw: Scaled latents of real videos.
        condition: Text states of their captions.
        images_n3hw: Clean images in [-1, 1]; ``None`` takes the videos' own frames.
        image_text_nd: Pooled text embeddings of the images' captions.
        image_latents_bcthw: Scaled latents of the images, t = 1; ``None`` where none are asked for.
        image_condition: Text states of the images' captions, with the latents.
    """

    latents_bcthw: Tensor
    condition: Condition
    images_n3hw: Tensor | None = None
    image_text_nd: Tensor | None = None
    image_latents_bcthw: Tensor | None = None
    image_condition: Condition | None = None

    def __len__(self) -> int:
        return len(self.latents_bcthw)

    def to(self, device: torch.device | str) -> DistillBatch:
        """Move to a device; half-precision latents become float32."""
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device, torch.float32)
            for name, value in vars(self).items()
        }
        return DistillBatch(**moved)


@dataclass(frozen=True)
class Frames:
    """Single frames with the pooled text embeddings of their captions.

    Attributes:
        pixels_n3hw: RGB in about [-1, 1].
        text_nd: Pooled text embeddings.
    """

    pixels_n3hw: Tensor
    text_nd: Tensor


@dataclass(frozen=True)
class CriticFrames:
    """The two sides that the appearance critic compares."""

    real: Frames
    fake: Frames


@dataclass(frozen=True)
class CriticClips:
    """The two sides that the clip critic compares, clips of the same captions.

    Attributes:
        real_bcthw: Latents of real videos, or the teacher's features of them.
        fake_bcthw: The student's.
        text_bd: Pooled text embeddings of the captions.
    """

    real_bcthw: Tensor
    fake_bcthw: Tensor
    text_bd: Tensor


@dataclass(frozen=True)
class Judged:
    """What the critics see.

    Attributes:
        frames: For the appearance critic; ``None`` without one.
        clips: For the clip critic; ``None`` without one.
    """

    frames: CriticFrames | None = None
    clips: CriticClips | None = None

    def detach(self) -> Judged:
        """Cut the student's side from what made it."""
        frames, clips = self.frames, self.clips
        if frames is not None:
            fake = Frames(frames.fake.pixels_n3hw.detach(), frames.fake.text_nd)
            frames = CriticFrames(frames.real, fake)
        if clips is not None:
            clips = replace(clips, fake_bcthw=clips.fake_bcthw.detach())
        return Judged(frames, clips)


@dataclass(frozen=True)
class Losses:
    """Result of the student's step.

    Attributes:
        total: What to differentiate.
        parts: Its terms by name, unweighted and detached.
        judged: What the critics' step needs, detached; ``None`` without a critic.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    judged: Judged | None = None
