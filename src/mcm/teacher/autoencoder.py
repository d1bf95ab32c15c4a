"""The latent autoencoder: a light deep-compression autoencoder, 16 pixels to one latent.

Chen et al., *Deep Compression Autoencoder for Efficient High-Resolution Diffusion
Models*, 2024 (arXiv 2410.10733), at a size whose decoder costs less than one call
of the video network.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import FRAMES, Split
from mcm.data.fluent.world import World
from mcm.teacher.loop import LoopConfig, train

LATENT_CHANNELS = 32
GRID = 16
"""Pixels to one latent position."""

_CHANNELS = (16, 16, 32, 64, 128)
_NOISE = 0.1
_CROP = 64
_PULL = 2e-4


def make_autoencoder() -> AutoencoderDC:
    """Return a fresh autoencoder (random weights)."""
    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=_CHANNELS,
        decoder_block_out_channels=_CHANNELS,
        encoder_layers_per_block=(0, 1, 2, 2, 2),
        decoder_layers_per_block=(0, 1, 1, 2, 4),
        encoder_qkv_multiscales=((),) * 5,
        decoder_qkv_multiscales=((),) * 5,
    )


class WorldFrames(Dataset[Tensor]):
    """Batches of single frames from all three domains; batch ``n`` is always the same.

    Half of a batch are frames of one poor video, a quarter each clean stills and flat
    drawings. Each item is (b, 3, h, w) in [-1, 1].

    Args:
        world: The composer.
        batch_size: Frames in a batch, a multiple of 4.
        split: Which combinations.
        crop: Side of the square cut out around the busiest part, on the latent grid;
            ``None`` keeps whole frames.
    """

    def __init__(
        self, world: World, batch_size: int = 16, split: Split = "train", crop: int | None = None
    ) -> None:
        self.world, self.batch_size, self.split, self.crop = world, batch_size, split, crop

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, number: int) -> Tensor:
        video, _, _ = self.world.poor_video(number, self.split)
        quarter = self.batch_size // 4
        stride = max(FRAMES // (2 * quarter), 1)
        frames = list(decode(video)[::stride][: 2 * quarter])
        for domain in ("image", "flat"):
            numbers = range(number * quarter, (number + 1) * quarter)
            stills = (self.world.still(still, domain, self.split) for still in numbers)
            frames += [np.asarray(still.image) for still in stills]
        if self.crop:
            rng = np.random.default_rng((number, 7))
            frames = [busy_crop(frame, self.crop, rng) for frame in frames]
        stack = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
        return stack.float() / 127.5 - 1


def busy_crop(frame: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a square on the latent grid, drawn in proportion to the edges that it holds."""
    edges = np.abs(np.diff(frame.astype(np.float32).mean(2), axis=1, append=0))
    cells = edges.reshape(len(frame) // GRID, GRID, -1, GRID).sum((1, 3))
    windows = np.lib.stride_tricks.sliding_window_view(cells, (side // GRID,) * 2).sum((2, 3))
    chosen = rng.choice(windows.size, p=windows.ravel() / windows.sum())
    top, left = (GRID * int(start) for start in np.unravel_index(chosen, windows.shape))
    return frame[top : top + side, left : left + side]


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


def keep_encoder(model: AutoencoderDC, trained: Path) -> None:
    """Take over a trained encoder, frozen, so that only the decoder learns.

    Layers of the trained decoder that the model's decoder also has are where it starts from.
    """
    donor = AutoencoderDC.from_pretrained(trained, torch_dtype=torch.float32)
    model.encoder.load_state_dict(donor.encoder.state_dict())
    model.encoder.requires_grad_(False)
    shapes = {name: value.shape for name, value in model.decoder.state_dict().items()}
    kept = {k: v for k, v in donor.decoder.state_dict().items() if shapes.get(k) == v.shape}
    model.decoder.load_state_dict(kept, strict=False)


def train_autoencoder(
    folder: Path,
    config: LoopConfig,
    minutes: float | None = None,
    encoder: Path | None = None,
) -> None:
    """Train the autoencoder and save it as a diffusers folder with its latent scale.

    ``encoder`` is the folder of an autoencoder whose encoder is kept: latents stay what they
    were, and what was trained on them goes on working.
    """
    torch.manual_seed(config.seed)
    model = make_autoencoder()
    if encoder is not None:
        keep_encoder(model, encoder)
    data = WorldFrames(World(), crop=_CROP)

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
