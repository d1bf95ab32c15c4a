"""The latent autoencoder: a light deep-compression autoencoder, 16 pixels to one latent.

Chen et al., *Deep Compression Autoencoder for Efficient High-Resolution Diffusion
Models*, 2024 (arXiv 2410.10733), at a size whose decoder costs less than one call
of the video network.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mcm.data.fluent.scene import Split
from mcm.data.fluent.world import Domain, World
from mcm.teacher.loop import LoopConfig, train

LATENT_CHANNELS = 16
_CHANNELS = (16, 16, 32, 64, 128)
_NOISE = 0.05
_PULL = 2e-4


def make_autoencoder() -> AutoencoderDC:
    """Return a fresh autoencoder (random weights)."""
    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=_CHANNELS,
        decoder_block_out_channels=_CHANNELS,
        encoder_layers_per_block=(0, 1, 1, 2, 2),
        decoder_layers_per_block=(0, 1, 2, 3, 3),
        encoder_qkv_multiscales=((),) * 5,
        decoder_qkv_multiscales=((),) * 5,
    )


class WorldFrames(Dataset[Tensor]):
    """Batches of single frames from all three domains; batch ``n`` is always the same.

    Half of a batch are frames of poor video, the rest stills and flat drawings.
    Each item is (b, 3, h, w) in [-1, 1].
    """

    def __init__(self, world: World, batch_size: int = 8, split: Split = "train") -> None:
        self.world, self.batch_size, self.split = world, batch_size, split

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, number: int) -> Tensor:
        half, quarter = self.batch_size // 2, self.batch_size // 4
        frames = self._video_frames(number, half)
        for slot in range(quarter):
            frames.append(np.asarray(self._still(number * quarter + slot, "image")))
            share = "flat" if slot % 2 else "image"
            frames.append(np.asarray(self._still((number + 1) * -quarter + slot, share)))
        stack = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
        return stack.float() / 127.5 - 1

    def _video_frames(self, number: int, count: int) -> list[np.ndarray]:
        video, _, _ = self.world.poor_video(number, self.split)
        with av.open(io.BytesIO(video)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return frames[:: len(frames) // count][:count]

    def _still(self, number: int, domain: Domain) -> np.ndarray:
        return np.asarray(self.world.still(abs(number), domain, self.split).image)


def reconstruction_losses(model: AutoencoderDC, x_bchw: Tensor) -> dict[str, Tensor]:
    """Return pixel, edge and latent-size losses of noisy-latent reconstruction."""
    z = model.encode(x_bchw).latent
    y = model.decode(z + _NOISE * torch.randn_like(z)).sample
    edges = (_edges(y), _edges(x_bchw))
    return {
        "pixel": (y - x_bchw).abs().mean() + (y - x_bchw).square().mean(),
        "edge": sum((a - b).abs().mean() for a, b in zip(*edges, strict=True)) / 2,
        "size": _PULL * z.square().mean(),
    }


def _edges(x_bchw: Tensor) -> tuple[Tensor, Tensor]:
    return x_bchw[..., 1:] - x_bchw[..., :-1], x_bchw[..., 1:, :] - x_bchw[..., :-1, :]


def train_autoencoder(folder: Path, config: LoopConfig, minutes: float | None = None) -> None:
    """Train the autoencoder and save it as a diffusers folder with its latent scale."""
    torch.manual_seed(config.seed)
    model = make_autoencoder()
    data = WorldFrames(World())

    def batches(start: int) -> Iterable[Tensor]:
        return DataLoader(
            data, batch_size=None, sampler=range(start, config.steps + 1), num_workers=1
        )

    train(model, lambda x: reconstruction_losses(model, x), batches, config, folder, minutes)
    save_autoencoder(model, folder / "vae")


@torch.no_grad()
def save_autoencoder(model: AutoencoderDC, folder: Path) -> None:
    """Set the latent scale from held-out frames and save the model.

    ``block_out_channels`` is written for pipelines that read the compression off its length.
    """
    frames = WorldFrames(World(), split="evaluation")
    latents = torch.cat([model.encode(frames[number]).latent for number in range(16)])
    model.register_to_config(
        scaling_factor=round(1 / float(latents.std()), 4), block_out_channels=list(_CHANNELS)
    )
    model.save_pretrained(folder)


@torch.no_grad()
def psnr(model: AutoencoderDC, batches: int = 16) -> float:
    """Return the mean peak signal-to-noise ratio in dB over held-out frames."""
    frames = WorldFrames(World(), split="evaluation")
    values = []
    for number in range(batches):
        x = frames[number]
        y = model.decode(model.encode(x).latent).sample.clamp(-1, 1)
        error = (y - x).square().mean(dim=(1, 2, 3)) / 4
        values.append(-10 * error.log10())
    return float(torch.cat(values).mean())
