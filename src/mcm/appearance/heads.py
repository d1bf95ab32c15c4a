"""Trainable heads of the critic, one per feature level.

Spectral-norm convolutions (Miyato et al. 2018), a residual block and a projection on
the text embedding (Miyato & Koyama 2018, arXiv 1802.05637). The set-up of several
heads on frozen features is that of Projected GAN (Sauer et al. 2021, arXiv
2111.01007) and StyleGAN-T (Sauer et al. 2023, arXiv 2301.09515).
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import layer_norm, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

Layout = Literal["map", "tokens"]
TOKEN_KERNEL = 9
LOGIT_STRIDE = 16
"""Pixels per logit: finer levels are reduced to this, coarser ones keep their grid."""


def reductions(stride: int) -> int:
    """Return how many times a level of this stride is halved to reach ``LOGIT_STRIDE``."""
    return max(LOGIT_STRIDE // stride, 1).bit_length() - 1


def convolution(
    layout: Layout, channels: tuple[int, int], pointwise: bool = False, halve: bool = False
) -> nn.Module:
    """Return a spectral-norm convolution over the grid or over the row of tokens.

    Over tokens in raster order, halving the grid's two sides is a stride of four.
    """
    kernel = 1 if pointwise else 3 if layout == "map" else TOKEN_KERNEL
    stride = 1 if not halve else 2 if layout == "map" else 4
    kind = nn.Conv2d if layout == "map" else nn.Conv1d
    layer: nn.Module = kind(*channels, kernel, stride=stride, padding=kernel // 2)
    return spectral_norm(layer)


def text_match(h_bwn: Tensor, text_bd: Tensor, projection: nn.Module) -> Tensor:
    """Return ⟨V y, h⟩ / √width at every position, (b, n), y the normalised text embedding."""
    text_bw = projection(layer_norm(text_bd, text_bd.shape[-1:]))
    match_bn: Tensor = (text_bw[:, :, None] * h_bwn).sum(1)
    return match_bn / sqrt(text_bw.shape[1])


class LevelHead(nn.Module):
    """Logits D(h, y) = ψ(φ(h)) + ⟨V y, φ(h)⟩ / √width at every position of one level."""

    def __init__(
        self, channels: int, text_dim: int, width: int, halvings: int, layout: Layout
    ) -> None:
        """Build the head.

        Args:
            channels: Channels of the level.
            text_dim: Dimension of the pooled text embedding.
            width: Channels inside the head.
            halvings: Convolutions that halve the grid.
            layout: ``map`` for 2-D convolutions on the grid, ``tokens`` for the
                paper's 1-D convolutions over the raster of tokens.
        """
        super().__init__()
        self.layout = layout
        self.enter = convolution(layout, (channels, width), pointwise=True)
        self.reduce = nn.ModuleList(
            convolution(layout, (width, width), halve=True) for _ in range(halvings)
        )
        self.residual = convolution(layout, (width, width))
        self.unconditional = convolution(layout, (width, 1), pointwise=True)
        self.text = spectral_norm(nn.Linear(text_dim, width, bias=False))

    def forward(self, features_bchw: Tensor, text_bd: Tensor) -> Tensor:
        """Return logits (b, n) for a level's map and the pooled text embedding."""
        h = self.enter(features_bchw if self.layout == "map" else features_bchw.flatten(2))
        for layer in self.reduce:
            h = layer(leaky_relu(h, 0.2))
        h = (h + self.residual(leaky_relu(h, 0.2))) / sqrt(2)
        h = leaky_relu(h, 0.2)
        unconditional_bn: Tensor = self.unconditional(h).flatten(1)
        return unconditional_bn + text_match(h.flatten(2), text_bd, self.text)
