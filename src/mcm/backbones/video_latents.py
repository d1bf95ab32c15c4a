"""Autoencoders that compress time: video to normalised latents and chosen frames back.

The first frame stands alone; every further latent frame holds ``temporal_factor`` frames. A
causal decoder keeps what it needs of the past in caches, so a frame depends on all latents up to
its own. To decode a frame, the chunks before it are run without gradient and only hand on their
caches; the chunk that holds the frame, the smallest that the decoder knows, is run with gradient.
Pixels are those of decoding everything, memory is that of one chunk for each frame asked for, and
gradient reaches the latents of those chunks only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class VideoAutoencoder:
    """A frozen video autoencoder of diffusers; chosen frames cost as much as all of them.

    Attributes:
        autoencoder: The diffusers model.
        latent_channels: Channels of a latent frame.
        spatial_factor: Pixels to one latent position.
        temporal_factor: Frames to one latent frame after the first.
    """

    def __init__(
        self, autoencoder: Any, factors: tuple[int, int], mean: Tensor, std: Tensor
    ) -> None:
        """Freeze an autoencoder.

        Args:
            autoencoder: The diffusers model.
            factors: Spatial and temporal factor.
            mean: Of each channel of its latents, (c,).
            std: Of each channel of its latents, (c,).
        """
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.dtype: torch.dtype = autoencoder.dtype
        self.spatial_factor, self.temporal_factor = factors
        self.latent_channels = len(mean)
        self._mean = mean.float().to(autoencoder.device).reshape(-1, 1, 1, 1)
        self._std = std.float().to(autoencoder.device).reshape(-1, 1, 1, 1)

    @torch.no_grad()
    def encode(self, video_bcthw: Tensor) -> Tensor:
        """Return normalised latents (b, c, t, h, w), float32: (mode − mean) / std.

        Clips are encoded one at a time, which bounds memory.
        """
        assert self.autoencoder.encoder is not None, "the video encoder was freed"
        clips = video_bcthw.to(self.autoencoder.device, self.dtype).split(1)
        raw = torch.cat([self.autoencoder.encode(clip).latent_dist.mode() for clip in clips])
        return (raw.float() - self._mean) / self._std

    def decode(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        """Return the frames asked for, or all, (b, l, 3, H, W), about [-1, 1], float32."""
        raw = latents_bcthw.to(self.autoencoder.device) * self._std + self._mean
        clips = raw.to(self.dtype).split(1)
        if indices_bl is None:
            frames = [self._decode_all(clip) for clip in clips]
        else:
            wanted = indices_bl.tolist()
            frames = [self._decode_some(*pair) for pair in zip(clips, wanted, strict=True)]
        return torch.cat(frames).transpose(1, 2).float()

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder's blocks in the backward pass, where diffusers can."""
        if getattr(self.autoencoder, "_supports_gradient_checkpointing", False):
            self.autoencoder.enable_gradient_checkpointing()

    def free_encoder(self) -> None:
        """Drop the encoder half; decoding goes on."""
        self.autoencoder.encoder = None

    def _decode_all(self, raw_1cthw: Tensor) -> Tensor:
        pixels: Tensor = self.autoencoder.decode(raw_1cthw).sample
        return pixels

    def _decode_some(self, raw_1cthw: Tensor, wanted: list[int]) -> Tensor:
        """Return frames (1, 3, l, H, W) of one clip."""
        return self._decode_all(raw_1cthw)[:, :, wanted]


class CausalAutoencoder(VideoAutoencoder, ABC):
    """A video autoencoder whose decoder works chunk by chunk from the start of the clip."""

    def _decode_some(self, raw_1cthw: Tensor, wanted: list[int]) -> Tensor:
        found: dict[int, Tensor] = {}
        caches: Any = None
        for start, end in self._chunks(raw_1cthw.shape[2]):
            first, stop = self._frame(start), self._frame(end)
            here = [index for index in wanted if first <= index < stop]
            with torch.set_grad_enabled(torch.is_grad_enabled() and bool(here)):
                pixels, caches = self._decode_chunk(raw_1cthw[:, :, start:end], caches)
            caches = _detached(caches)
            found |= {index: pixels[:, :, index - first] for index in here}
            if len(found) == len(set(wanted)):
                break
        return torch.stack([found[index] for index in wanted], dim=2)

    def _frame(self, latent: int) -> int:
        """Return the number of frames in the latent frames before one."""
        return (latent - 1) * self.temporal_factor + 1 if latent else 0

    @abstractmethod
    def _chunks(self, latents: int) -> list[tuple[int, int]]:
        """Return start and end of the runs of latent frames that are decoded together."""

    @abstractmethod
    def _decode_chunk(self, raw_1cthw: Tensor, caches: Any) -> tuple[Tensor, Any]:
        """Decode a run of latent frames after those that left the caches (``None``: the first)."""


def _detached(caches: Any) -> Any:
    """Return nested lists and dictionaries with their tensors cut from the graph."""
    if isinstance(caches, Tensor):
        return caches.detach()
    if isinstance(caches, dict):
        return {key: _detached(value) for key, value in caches.items()}
    if isinstance(caches, list):
        return [_detached(value) for value in caches]
    return caches
