"""Every random quantity of a training step, drawn from one generator before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

MOST_SEEDS = 2**62


@dataclass(frozen=True)
class DrawConfig:
    """The distributions.

    Attributes:
        grid_points: N; indices are 0 .. N − 1.
        guidance: Least and greatest w, at the noisy end of the grid if not everywhere.
        clean_guidance: Those at its clean end; in between, in a straight line. ``None``: as there.
        real_fraction: λ_real, the probability of a real latent.
        drop_caption: Probability of the empty caption, of clips and images alike: a critic that
            saw it on one side alone would tell the sides apart by it.
        frames: Pixel frames of a clip.
        judged_frames: Frames of a clip that the critic sees.
        time_weights: Relative probability of equal parts of the grid; ``None`` is uniform.
        generation_steps: Equally likely numbers of steps of self-generated latents.
        judged_noise: Least and greatest part of the time axis at which clips are judged; ``None``
            without noise.
    """

    grid_points: int
    guidance: tuple[float, float]
    real_fraction: float = 1.0
    drop_caption: float = 0.0
    frames: int = 1
    judged_frames: int = 1
    time_weights: tuple[float, ...] | None = None
    generation_steps: tuple[int, ...] = (1,)
    judged_noise: tuple[float, float] | None = None
    clean_guidance: tuple[float, float] | None = None


@dataclass(frozen=True)
class Draws:
    """One step's draws, each for every sample of the batch but where it says otherwise.

    Attributes:
        real_b: Whether the clean latent is the real video's.
        keep_b: Whether the caption is kept.
        index_b: Index into the solver grid.
        w_b: Guidance.
        noise_bcthw: The noise of x_t.
        seeds_b: Seeds of the noise that generated latents start from.
        frames_bl: Pixel frames that the critic sees, ascending.
        generation_steps: Steps that generated latents take, the same for all of the batch.
        judged_noise_bcthw: The noise on clips as they are judged; ``None`` without.
        judged_level: Part of the time axis at which they are, the same for all of the batch.
        keep_image_n: Whether an image's caption is kept; ``None`` without images.
        image_index_b: Indices into the solver grid of the images that consistency is asked of.
        image_noise_bcthw: Their noise; both ``None`` without.
    """

    real_b: Tensor
    keep_b: Tensor
    index_b: Tensor
    w_b: Tensor
    noise_bcthw: Tensor
    seeds_b: Tensor
    frames_bl: Tensor
    generation_steps: int = 1
    judged_noise_bcthw: Tensor | None = None
    judged_level: float = 0.0
    keep_image_n: Tensor | None = None
    image_index_b: Tensor | None = None
    image_noise_bcthw: Tensor | None = None

    def to(self, device: torch.device | str) -> Draws:
        """Move to a device."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def draw(
    config: DrawConfig,
    shape: Sequence[int],
    generator: torch.Generator,
    image_shape: Sequence[int] | None = None,
    images: int = 0,
) -> Draws:
    """Draw one step.

    Args:
        config: The distributions.
        shape: (b, c, t, h, w) of the latents.
        generator: A generator on the CPU, so that every device sees the same draws.
        image_shape: (b, c, 1, h, w) of the latents of images; ``None`` without.
        images: Images with captions.
    """
    batch = shape[0]
    real_b = torch.rand(batch, generator=generator) < config.real_fraction
    keep_b = torch.rand(batch, generator=generator) >= config.drop_caption
    index_b = grid_indices(config, batch, generator)
    draws = Draws(
        real_b=real_b,
        keep_b=keep_b,
        index_b=index_b,
        w_b=guidance(config, index_b, generator),
        noise_bcthw=torch.randn(*shape, generator=generator),
        seeds_b=torch.randint(MOST_SEEDS, (batch,), generator=generator),
        frames_bl=sparse_frames(batch, config.frames, config.judged_frames, generator),
        generation_steps=one_of(config.generation_steps, generator),
    )
    if config.judged_noise is not None:
        low, high = config.judged_noise
        level = low + (high - low) * float(torch.rand((), generator=generator))
        noise_bcthw = torch.randn(*shape, generator=generator)
        draws = replace(draws, judged_noise_bcthw=noise_bcthw, judged_level=level)
    if image_shape is not None:
        image_index_b = grid_indices(config, image_shape[0], generator)
        noise_bcthw = torch.randn(*image_shape, generator=generator)
        draws = replace(draws, image_index_b=image_index_b, image_noise_bcthw=noise_bcthw)
    if images:
        keep_image_n = torch.rand(images, generator=generator) >= config.drop_caption
        draws = replace(draws, keep_image_n=keep_image_n)
    return draws


def grid_indices(config: DrawConfig, batch: int, generator: torch.Generator) -> Tensor:
    """Draw indices 0 .. N − 1; point n has the weight of its part ⌊n·P/N⌋ of the grid."""
    weights = torch.tensor(config.time_weights or (1.0,), dtype=torch.float64)
    part_n = torch.arange(config.grid_points) * len(weights) // config.grid_points
    return torch.multinomial(weights[part_n], batch, replacement=True, generator=generator)


def guidance(config: DrawConfig, index_b: Tensor, generator: torch.Generator) -> Tensor:
    """Draw w, each at the same place between least and greatest of both ends of the grid."""
    ends = torch.tensor([config.clean_guidance or config.guidance, config.guidance])
    place_b = torch.rand(len(index_b), generator=generator)
    clean_b, noisy_b = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * place_b
    return torch.lerp(clean_b, noisy_b, index_b / max(config.grid_points - 1, 1))


def one_of(choices: Sequence[int], generator: torch.Generator) -> int:
    """Draw one of equally likely choices; a single one takes no draw."""
    if len(choices) == 1:
        return choices[0]
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def sparse_frames(batch: int, frames: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw one frame from each of ``count`` equal segments of the clip (Wang et al., TSN, 2016)."""
    places_bl = torch.arange(count) + torch.rand(batch, count, generator=generator)
    return (places_bl * frames / count).long().clamp_max(frames - 1)
