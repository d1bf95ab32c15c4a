"""Motion as the correlation of consecutive latent frames (a cost volume).

Reference: Xu et al., GMFlow, 2022 (arXiv 2111.13680), for the form of the cost volume.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

OUTSIDE = -1e9


def global_correlation(latents_bcthw: Tensor) -> Tensor:
    """corr[i, j] = ⟨x_t(i), x_{t+1}(j)⟩ / √C over all pairs of places i, j.

    Returns:
        Shape (b, t − 1, h·w, h·w).
    """
    places_btcn = latents_bcthw.transpose(1, 2).flatten(3)
    before, after = places_btcn[:, :-1], places_btcn[:, 1:]
    return before.transpose(2, 3) @ after / math.sqrt(latents_bcthw.shape[1])


def scaled_global_correlation(latents_bcthw: Tensor) -> Tensor:
    """√h times :func:`global_correlation`, h the latent height."""
    return global_correlation(latents_bcthw) * math.sqrt(latents_bcthw.shape[3])


def local_correlation(latents_bcthw: Tensor, radius: int = 7) -> Tensor:
    """corr[i, d] = ⟨x_t(i), x_{t+1}(i + d)⟩ / √C for displacements |d_y|, |d_x| ≤ radius.

    Displacements run row by row; those that leave the frame hold ``OUTSIDE``, the same in
    any two videos of one size, so that they add nothing to a distance.

    Returns:
        Shape (b, t − 1, h·w, (2·radius + 1)²).
    """
    channels, height, width = latents_bcthw.shape[1], *latents_bcthw.shape[3:]
    before, after = latents_bcthw[:, :, :-1], latents_bcthw[:, :, 1:]
    windows = _windows(after, radius)
    correlation = before[:, 0, ..., None, None] * windows[:, 0]
    for c in range(1, channels):
        correlation = correlation + before[:, c, ..., None, None] * windows[:, c]
    inside = _windows(latents_bcthw.new_ones(height, width), radius) > 0
    correlation = (correlation / math.sqrt(channels)).masked_fill(~inside, OUTSIDE)
    return correlation.flatten(4).flatten(2, 3)


def _windows(x: Tensor, radius: int) -> Tensor:
    """View (..., h, w) as (..., h, w, 2r + 1, 2r + 1), zero outside the frame."""
    size = 2 * radius + 1
    padded = F.pad(x, (radius,) * 4)
    return padded.unfold(-2, size, 1).unfold(-2, size, 1)
