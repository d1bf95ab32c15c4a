"""A small convolutional tower that trains together with the critic's heads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from mcm.appearance.levels import select_levels
from mcm.errors import UserError

WIDTHS = (64, 96, 128)
STEM_WIDTH = 32
DETAIL_GAIN = 4.0


def with_detail(images_bchw: Tensor) -> Tensor:
    """Return x beside its high frequencies 4·(x − box₃(x)), as (b, 2c, h, w).

    Sharpness and watermarks live in the small high frequencies, which random filters
    hardly see beside the large areas of colour.
    """
    smooth_bchw = avg_pool2d(images_bchw, 3, stride=1, padding=1, count_include_pad=False)
    return torch.cat([images_bchw, DETAIL_GAIN * (images_bchw - smooth_bchw)], dim=1)


class ScratchTower(nn.Module):
    """Spectral-norm convolutions over pixels and detail; level ``i`` has stride ``4 · 2^i``.

    For critics without pretrained features: the parameters train with the heads.
    """

    def __init__(self, levels: tuple[int, ...], size: int) -> None:
        """Build the tower up to the last of ``levels``."""
        super().__init__()
        self.taps = levels
        self.levels = tuple(WIDTHS[i] for i in levels)
        self.strides = tuple(4 * 2**i for i in levels)
        self.size = size
        self.multiple = 1
        self.frozen = False
        widths = (STEM_WIDTH, *WIDTHS[: levels[-1] + 1])
        self.stem = spectral_norm(nn.Conv2d(6, STEM_WIDTH, 4, stride=2, padding=1))
        self.stages = nn.ModuleList(
            spectral_norm(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1))
            for c_in, c_out in pairwise(widths)
        )

    def forward(self, images_bchw: Tensor) -> list[Tensor]:
        """Return one map (b, c, h, w) per level for RGB images in [-1, 1]."""
        x_bchw = self.stem(with_detail(images_bchw))
        maps = []
        for stage in self.stages:
            x_bchw = stage(leaky_relu(x_bchw, 0.2))
            maps.append(x_bchw)
        return [maps[i] for i in self.taps]


def load_scratch(levels: Sequence[int] | None, size: int, weights: str | None) -> ScratchTower:
    """Build the tower with random weights.

    Raises:
        UserError: If weights are given, since it starts from none.
    """
    if weights is not None:
        raise UserError(
            f"critic.weights: '{weights}' cannot be used with the backbone 'scratch', "
            "which trains from random weights; remove the field."
        )
    count = len(WIDTHS)
    return ScratchTower(select_levels(levels, range(count), count, "scratch"), size)
