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
import torch.nn.functional as F
from diffusers import AutoencoderDC
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import FRAMES, Split
from mcm.data.fluent.world import World
from mcm.devices import best_autocast
from mcm.teacher.loop import LoopConfig, train

LATENT_CHANNELS = 16
GRID = 16
"""Pixels to one latent position."""

_ENCODER_CHANNELS = (16, 16, 32, 64, 128)
_DECODER_CHANNELS = (16, 32, 64, 64, 128)
"""The decoder is wider where edges are drawn: one latent position stands for 256 pixels."""

_NOISE = 0.3
_CROP = 64
_PULL = 2e-4
_SPREAD = 0.8
"""Standard deviation of the scaled latents."""


def make_autoencoder() -> AutoencoderDC:
    """Return a fresh autoencoder (random weights)."""
    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=_ENCODER_CHANNELS,
        decoder_block_out_channels=_DECODER_CHANNELS,
        encoder_layers_per_block=(0, 1, 2, 2, 2),
        decoder_layers_per_block=(0, 2, 2, 2, 4),
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


def reconstruction_losses(model: AutoencoderDC, x_bchw: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Return pixel, edge and latent-size losses of reconstruction from noisy, moved latents.

    Latents that were turned, mirrored or made smaller must decode to frames that were: that
    leaves fewer and smoother patterns for a denoiser to learn (Kouzelis et al., *EQ-VAE*, 2025,
    arXiv 2502.09509).
    """
    generator = torch.Generator().manual_seed(seed)
    with best_autocast(x_bchw.device):
        z = model.encode(x_bchw).latent.float()
        noise = _NOISE * torch.rand(len(z), 1, 1, 1, generator=generator)
        z_moved, x_moved = move_together(z, x_bchw, generator)
        noisy = z_moved + noise * torch.randn(z_moved.shape, generator=generator)
        y = model.decode(noisy).sample.float()
    edges = (_edges(y), _edges(x_moved))
    return {
        "pixel": (y - x_moved).abs().mean() + (y - x_moved).square().mean(),
        "edge": sum((a - b).abs().mean() for a, b in zip(*edges, strict=True)) / 2,
        "size": _PULL * z.square().mean(),
    }


def move_together(
    z_bchw: Tensor, x_bchw: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Turn, mirror and (one time in four) halve latents and frames alike; half stay as they are."""
    kind, turns, mirror = torch.randint(0, 4, (3,), generator=generator).tolist()
    if kind < 2:
        return z_bchw, x_bchw
    moved = []
    for image in (z_bchw, x_bchw):
        image = image.rot90(turns, (2, 3))
        image = image.flip(3) if mirror % 2 else image
        moved.append(F.avg_pool2d(image, 2) if kind == 3 else image)
    return moved[0], moved[1]


def _edges(x_bchw: Tensor) -> tuple[Tensor, Tensor]:
    return x_bchw[..., 1:] - x_bchw[..., :-1], x_bchw[..., 1:, :] - x_bchw[..., :-1, :]


def begin_with(model: AutoencoderDC, trained: Path) -> None:
    """Take over the layers of a trained autoencoder that the model also has."""
    donor = AutoencoderDC.from_pretrained(trained, torch_dtype=torch.float32)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    kept = {k: v for k, v in donor.state_dict().items() if shapes.get(k) == v.shape}
    model.load_state_dict(kept, strict=False)


def keep_encoder(model: AutoencoderDC, trained: Path) -> None:
    """Take over a trained encoder, frozen, and the scale of its latents; only the decoder learns.

    Layers of the trained decoder that the model's decoder also has are where it starts from.
    """
    begin_with(model, trained)
    donor = AutoencoderDC.from_pretrained(trained, torch_dtype=torch.float32)
    model.encoder.load_state_dict(donor.encoder.state_dict())
    model.encoder.requires_grad_(False)
    model.register_to_config(scaling_factor=donor.config.scaling_factor)


def train_autoencoder(
    folder: Path,
    config: LoopConfig,
    minutes: float | None = None,
    init: Path | None = None,
) -> None:
    """Train the autoencoder and save it as a diffusers folder with its latent scale.

    ``init`` is the folder of an autoencoder to begin with.
    """
    torch.manual_seed(config.seed)
    model = make_autoencoder()
    if init is not None:
        begin_with(model, init)
    data = WorldFrames(World(), crop=_CROP)

    def batches(start: int) -> Iterable[tuple[int, Tensor]]:
        steps = range(start, config.steps + 1)
        return enumerate(DataLoader(data, batch_size=None, sampler=steps, num_workers=1), start)

    def losses(batch: tuple[int, Tensor]) -> dict[str, Tensor]:
        return reconstruction_losses(model, batch[1], seed=batch[0])

    train(model, losses, batches, config, folder, minutes)
    save_autoencoder(balance_latents(model), folder / "vae")


@torch.no_grad()
def balance_latents(model: AutoencoderDC) -> AutoencoderDC:
    """Return it with channels of one spread and the scale of its latents, from held-out frames."""
    frames = WorldFrames(World(), split="evaluation")
    model = rescale_latents(model, _latents(model, frames).std((0, 2, 3)).rsqrt())
    scale = _SPREAD / float(_latents(model, frames).std())
    model.register_to_config(scaling_factor=round(scale, 4))
    return model


def save_autoencoder(model: AutoencoderDC, folder: Path) -> None:
    """Save an autoencoder whose latents have their scale.

    ``block_out_channels`` is written for pipelines that read the compression off its length.
    """
    model.register_to_config(block_out_channels=list(_ENCODER_CHANNELS))
    model.save_pretrained(folder)


def _latents(model: AutoencoderDC, frames: WorldFrames) -> Tensor:
    return torch.cat([model.encode(frames[number]).latent for number in range(16)])


@torch.no_grad()
def rescale_latents(model: AutoencoderDC, gain_c: Tensor) -> AutoencoderDC:
    """Return an autoencoder whose latents are ``gain_c`` times those of ``model``, per channel.

    It makes the same frames. The mean colours of a patch are channels of several times the others'
    spread; at noise that hides all else they still show where an object stands, and a denoiser
    would have to learn motion within the first few of 50 steps.
    """
    config = {key: value for key, value in model.config.items() if not key.startswith("_")}
    config |= {"encoder_out_shortcut": False, "decoder_in_shortcut": False}
    scaled = AutoencoderDC.from_config(config)
    scaled.load_state_dict(model.state_dict())
    first, last = scaled.decoder.conv_in, scaled.encoder.conv_out
    repeats = first.out_channels // len(gain_c)
    rows = torch.arange(first.out_channels)
    last.weight[rows // repeats, rows, 1, 1] += 1 / repeats
    first.weight[rows, rows // repeats, 1, 1] += 1
    last.weight.mul_(gain_c.view(-1, 1, 1, 1))
    last.bias.mul_(gain_c)
    first.weight.div_(gain_c.view(1, -1, 1, 1))
    return scaled
