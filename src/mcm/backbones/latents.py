"""Video to scaled latents and back: the contract, and image autoencoders frame by frame."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_CHUNK = 16


class VideoCodec(Protocol):
    """A frozen autoencoder of diffusers.

    Attributes:
        autoencoder: The diffusers model.
    """

    autoencoder: Any

    @property
    def spatial_factor(self) -> int:
        """Pixels to one latent position, along height or width."""

    @property
    def temporal_factor(self) -> int:
        """Frames to one latent frame."""

    @property
    def latent_channels(self) -> int:
        """Channels of a latent frame."""

    def encode(self, video_bcthw: Tensor) -> Tensor:
        """Return scaled latents (b, c, t, h, w), float32, of pixels in [-1, 1]."""

    def decode(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        """Return the frames asked for, or all, (b, l, 3, H, W), about [-1, 1], float32."""

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder in the backward pass, where it can."""

    def free_encoder(self) -> None:
        """Drop the encoder half; decoding goes on."""


class FrameCodec:
    """A frozen image autoencoder of diffusers, used frame by frame.

    Works with `AutoencoderKL` (whose posterior's mode is taken), `AutoencoderDC` and
    `AutoencoderTiny`. Frames are coded 16 at a time, which bounds memory; only the frames asked
    for are decoded.

    Attributes:
        autoencoder: The diffusers model.
        temporal_factor: Every frame has a latent frame.
    """

    temporal_factor = 1

    def __init__(self, autoencoder: Any) -> None:
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.dtype: torch.dtype = autoencoder.dtype
        self._recomputed = False

    @property
    def spatial_factor(self) -> int:
        """Pixels to one latent position, along height or width."""
        config = self.autoencoder.config
        blocks = config.get("encoder_block_out_channels") or config["block_out_channels"]
        return int(2 ** (len(blocks) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of a latent frame."""
        return int(self.autoencoder.config["latent_channels"])

    @property
    def scale(self) -> float:
        """Factor from the autoencoder's latents to latents of unit variance."""
        return float(self.autoencoder.config["scaling_factor"])

    @torch.no_grad()
    def encode(self, video_bcthw: Tensor) -> Tensor:
        """Return scaled latents (b, c, t, h, w), float32, of pixels in [-1, 1]."""
        assert self.autoencoder.encoder is not None, "the video encoder was freed"
        frames = video_bcthw.transpose(1, 2)
        parts = frames.flatten(0, 1).to(self.autoencoder.device, self.dtype).split(_CHUNK)
        latents = torch.cat([_latents_of(self.autoencoder.encode(part)) for part in parts])
        latents = latents.float() * self.scale
        return latents.reshape(*frames.shape[:2], *latents.shape[1:]).transpose(1, 2).contiguous()

    def decode(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        """Return the frames asked for, or all, (b, l, 3, H, W), about [-1, 1], float32."""
        frames = latents_bcthw.transpose(1, 2)
        if indices_bl is not None:
            frames = pick_frames(frames, indices_bl)
        raw = frames.flatten(0, 1) / self.scale
        learning = self._recomputed and raw.requires_grad and torch.is_grad_enabled()
        parts = raw.to(self.autoencoder.device, self.dtype).split(1 if learning else _CHUNK)
        decode = (
            partial(checkpoint, self._decode, use_reentrant=False) if learning else self._decode
        )
        pixels = torch.cat([decode(part) for part in parts]).float()
        return pixels.reshape(*frames.shape[:2], *pixels.shape[1:])

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each frame's decoding in the backward pass; frames are decoded singly."""
        if getattr(self.autoencoder, "_supports_gradient_checkpointing", False):
            self.autoencoder.enable_gradient_checkpointing()
        self._recomputed = True

    def free_encoder(self) -> None:
        """Drop the encoder half; decoding goes on."""
        self.autoencoder.encoder = None

    def _decode(self, raw_bchw: Tensor) -> Tensor:
        pixels: Tensor = self.autoencoder.decode(raw_bchw).sample
        return pixels


def _latents_of(output: Any) -> Tensor:
    """Return the latents of what any of the autoencoders' ``encode`` gives."""
    if hasattr(output, "latent_dist"):
        mode: Tensor = output.latent_dist.mode()
        return mode
    latents: Tensor = output.latent if hasattr(output, "latent") else output.latents
    return latents


def pick_frames(x_btchw: Tensor, indices_bl: Tensor) -> Tensor:
    """Return frames ``indices_bl`` of each clip, shape (b, l, c, h, w)."""
    rows_b1 = torch.arange(x_btchw.shape[0], device=x_btchw.device)[:, None]
    return x_btchw[rows_b1, indices_bl.to(x_btchw.device)]
