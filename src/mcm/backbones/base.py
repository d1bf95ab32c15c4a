"""The contract between a video diffusion model and everything that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from mcm.diffusion import Prediction, Schedule

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True)
class Condition:
    """The text states of a batch of prompts.

    Attributes:
        tokens_bld: Hidden states for cross-attention.
        pooled_bd: Pooled text embedding, the critic's text condition.
        mask_bl: Which tokens count, for encoders that need it.
    """

    tokens_bld: Tensor
    pooled_bd: Tensor
    mask_bl: Tensor | None = None

    def __len__(self) -> int:
        return self.tokens_bld.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Condition:
        mask = None if self.mask_bl is None else self.mask_bl[index]
        return Condition(self.tokens_bld[index], self.pooled_bd[index], mask)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Condition:
        """Move to a device and cast the states (the mask keeps its type)."""
        mask = None if self.mask_bl is None else self.mask_bl.to(device)
        tokens, pooled = self.tokens_bld.to(device, dtype), self.pooled_bd.to(device, dtype)
        return Condition(tokens, pooled, mask)

    def expand(self, count: int) -> Condition:
        """Repeat a single prompt's states ``count`` times without copying."""
        mask = None if self.mask_bl is None else self.mask_bl.expand(count, -1)
        tokens = self.tokens_bld.expand(count, -1, -1)
        return Condition(tokens, self.pooled_bd.expand(count, -1), mask)

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """Join conditions along the batch."""
        masks = [condition.mask_bl for condition in conditions]
        present = [mask for mask in masks if mask is not None]
        assert len(present) in (0, len(masks)), "conditions with and without masks"
        return Condition(
            torch.cat([condition.tokens_bld for condition in conditions]),
            torch.cat([condition.pooled_bd for condition in conditions]),
            torch.cat(present) if present else None,
        )


@dataclass(frozen=True)
class BackboneSpec:
    """What a family's model is made for.

    Attributes:
        family: Name of the family (``animatediff`` …).
        prediction: What its network speaks.
        latent_channels: Channels of a latent frame.
        spatial_factor: Pixels to one latent position.
        temporal_factor: Frames to one latent frame.
        frames: Native number of frames.
        height: Native height in pixels.
        width: Native width in pixels.
        fps: Native frames per second.
        guidance_range: Range of the paper's w for distillation (diffusers' scale − 1).
        guidance: Best guidance scale of the teacher, in diffusers' convention.
        lora_targets: Suffixes of the module names that an adapter changes.
        max_tokens: Longest prompt in tokens, special tokens included.
        spatial_patch: Latent positions to one token of the network, along height or width.
        temporal_patch: Latent frames after the first that belong together; 2 if an autoencoder
            decodes them in pairs.
        low_noise: Below which timestep another expert takes over, and the best guidance scale for
            it; ``None`` for models of one network.
    """

    family: str
    prediction: Prediction
    latent_channels: int
    spatial_factor: int
    temporal_factor: int
    frames: int
    height: int
    width: int
    fps: int
    guidance_range: tuple[float, float]
    guidance: float
    lora_targets: tuple[str, ...]
    max_tokens: int
    spatial_patch: int = 1
    temporal_patch: int = 1
    low_noise: tuple[float, float] | None = None

    def weight_at(self, w_b: Tensor, t_b: Tensor) -> Tensor:
        """Return the paper's w of each sample at its timestep.

        Guidance is that of the expert for the noisier timesteps; the other's stays in the
        proportion in which the two are best: w·(g₂ − 1)/(g₁ − 1).

        Args:
            w_b: Guidance as asked for, of one sample or each.
            t_b: Timesteps.
        """
        if self.low_noise is None or self.guidance == 1:
            return w_b
        boundary, scale = self.low_noise
        return torch.where(t_b >= boundary, w_b, w_b * ((scale - 1) / (self.guidance - 1)))

    @property
    def size_step(self) -> int:
        """What height and width in pixels must be multiples of."""
        return self.spatial_factor * self.spatial_patch

    @property
    def frame_step(self) -> int:
        """What the number of frames after the first must be a multiple of."""
        return self.temporal_factor * self.temporal_patch

    def latent_shape(
        self, frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> tuple[int, int, int, int]:
        """Return (c, t, h, w) of the latents of a clip of the given or native size."""
        latent_frames = ((frames or self.frames) - 1) // self.temporal_factor + 1
        return (
            self.latent_channels,
            latent_frames,
            (height or self.height) // self.spatial_factor,
            (width or self.width) // self.spatial_factor,
        )


class Backbone(Protocol):
    """A text-to-video diffusion model; one network serves teacher, student and target."""

    spec: BackboneSpec
    schedule: Schedule
    network: nn.Module

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        """Run the network at the active adapter and return the wanted prediction."""
        ...

    @property
    def feature_width(self) -> int:
        """Channels of :meth:`features`."""
        ...

    def features(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        """Return what the network holds in its middle, (b, c, t, h, w); differentiable."""
        ...

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        """Return the text states of prompts; longer ones are cut at ``max_tokens``."""
        ...

    def cut_prompt(self, prompt: str) -> str:
        """Return the part of a prompt that ``encode_prompt`` cuts off, or an empty string."""
        ...

    def encode_video(self, video_bcthw: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] to scaled latents (b, c, t, h, w)."""
        ...

    def decode_frames(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        """Decode the frames asked for, (b, l, 3, H, W) in about [-1, 1]; differentiable."""
        ...

    def add_adapter(self, name: str, rank: int, alpha: float, trainable: bool = True) -> None:
        """Add a LoRA adapter, which starts as the identity."""
        ...

    def using(self, adapter: str | None) -> AbstractContextManager[None]:
        """Make an adapter active inside the context; ``None`` is the base model, the teacher."""
        ...

    def adapter_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return the parameters of an adapter by module name."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the model's encoders, for caches and checkpoints."""
        ...

    def free_encoders(self) -> None:
        """Drop the text encoder and the video encoder; the decoder stays."""
        ...

    def to_pipeline(self) -> DiffusionPipeline:
        """Return a stock diffusers pipeline around the same weights."""
        ...
