"""Frames to scaled latents and back, whatever the class of the image autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK = 16


class FrameCodec:
    """A frozen image autoencoder of diffusers, used frame by frame.

    Works with `AutoencoderKL` (whose posterior's mode is taken), `AutoencoderDC` and
    `AutoencoderTiny`. Frames are coded 16 at a time, which bounds memory.

    Attributes:
        autoencoder: The diffusers model.
    """

    def __init__(self, autoencoder: Any) -> None:
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.dtype: torch.dtype = autoencoder.dtype

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
    def encode(self, frames_bchw: Tensor) -> Tensor:
        """Return scaled latents (b, c, h, w), float32, of pixels in [-1, 1]."""
        assert self.autoencoder.encoder is not None, "the video encoder was freed"
        parts = frames_bchw.to(self.autoencoder.device, self.dtype).split(_CHUNK)
        latents = [_latents_of(self.autoencoder.encode(part)) for part in parts]
        return torch.cat(latents).float() * self.scale

    def decode(self, latents_bchw: Tensor) -> Tensor:
        """Return pixels (b, 3, H, W), about [-1, 1], float32; differentiable."""
        parts = (latents_bchw / self.scale).to(self.autoencoder.device, self.dtype).split(_CHUNK)
        return torch.cat([self.autoencoder.decode(part).sample for part in parts]).float()

    def free_encoder(self) -> None:
        """Drop the encoder half; decoding goes on."""
        self.autoencoder.encoder = None


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
