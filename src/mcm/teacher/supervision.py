"""Deep supervision: inner layers of a video network are asked where the object is and how it moves.

Where an object is depends on the word *and* on the frame; over all motions, left and right, up and
down, it depends on neither alone. From the velocity loss only, a video network stays on that
plateau. Linear heads on its inner layers, dropped after training, ask for both things directly
(Lee et al., *Deeply-Supervised Nets*, 2015, arXiv 1409.5185; Yu et al., *REPA*, 2025,
arXiv 2410.06940, align inner layers of a denoiser in the same way).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcm.data.fluent.render import EDGE_WIDTH
from mcm.data.fluent.scene import FRAME_SIZE, MOTIONS

MAPS = 3
"""Channels of a map: presence, and presence times cosine and sine of the object's turn."""

_FILL = 0.44
"""Radius of an object over its side."""

_LEAST_SPREAD = 0.1
"""Least variance of a channel over that of presence."""

EDGE = 4.0
"""Width of a map's soft edge in pixels."""


def place_maps(placement_bt5: Tensor, size: int) -> Tensor:
    """Return maps (b, t, 3, size, size) of objects at placements (x, y, side, angle, turn)."""
    fine = 2 * size
    at = (torch.arange(fine) + 0.5) * FRAME_SIZE / fine
    x, y, side, _, turn = (value[..., None, None] for value in placement_bt5.unbind(-1))
    radians = turn.deg2rad()
    width = radians.cos().abs().clamp_min(EDGE_WIDTH)
    distance = (((at - x) / width) ** 2 + (at[:, None] - y) ** 2).sqrt()
    presence = torch.sigmoid((_FILL * side - distance) / EDGE)
    maps = torch.stack([presence, presence * radians.cos(), presence * radians.sin()], 2)
    pooled: Tensor = F.avg_pool2d(maps.flatten(0, 2), 2).unflatten(0, maps.shape[:3])
    return pooled


class Supervised(nn.Module):
    """A video network with heads on the outputs of some of its layers.

    Args:
        network: What learns; any call signature.
        layers: Layers whose outputs are (b·t, c, h, w), in which the heads look.
        channels: Their channels.
    """

    def __init__(self, network: nn.Module, layers: list[nn.Module], channels: list[int]) -> None:
        super().__init__()
        self.network = network
        self.maps = nn.ModuleList(nn.Conv2d(c, MAPS, 1) for c in channels)
        self.words = nn.ModuleList(nn.Linear(c, len(MOTIONS) + 1) for c in channels)
        for parameter in self.parameters_of_heads():
            nn.init.zeros_(parameter)
        self._seen: dict[int, Tensor] = {}
        for number, layer in enumerate(layers):
            layer.register_forward_hook(partial(self._see, number))

    def parameters_of_heads(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that are dropped after training."""
        yield from self.maps.parameters()
        yield from self.words.parameters()

    def _see(self, number: int, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        self._seen[number] = output

    def forward(self, *inputs: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the network's sample, the heads' maps and their mean logits per clip."""
        sample: Tensor = self.network(*inputs).sample
        seen = [F.group_norm(self._seen[number], 1) for number in range(len(self.maps))]
        maps = [head(x) for head, x in zip(self.maps, seen, strict=True)]
        pooled = (x.mean((2, 3)).unflatten(0, (len(sample), -1)).mean(1) for x in seen)
        words = [head(x) for head, x in zip(self.words, pooled, strict=True)]
        return sample, maps, words


def supervision_losses(
    maps: list[Tensor], words: list[Tensor], placement_bt5: Tensor, motion_b: Tensor
) -> dict[str, Tensor]:
    """Return the share of the maps' variance that heads miss, and the motions' cross-entropy.

    Args:
        maps: Found maps (b·t, 3, h, h), one of each head.
        words: Found logits (b, motions + 1), one of each head.
        placement_bt5: Where objects are.
        motion_b: Number of the motion that each text names; the last for none.
    """
    sizes = {found.shape[-1] for found in maps}
    wanted = {size: place_maps(placement_bt5, size).flatten(0, 1) for size in sizes}
    spread = {size: _spread(shown) for size, shown in wanted.items()}
    missed = []
    for found in maps:
        size = found.shape[-1]
        error = (found.float() - wanted[size]).square().mean((0, 2, 3))
        missed.append((error / spread[size]).mean())
    named = [F.cross_entropy(logits.float(), motion_b) for logits in words]
    return {"place": torch.stack(missed).mean(), "word": torch.stack(named).mean()}


def _spread(maps_nchw: Tensor) -> Tensor:
    """Return the variance of each channel, at least a share of the presence's.

    The sine of the turn is 0 everywhere where nothing turns.
    """
    spread_c = maps_nchw.var((0, 2, 3))
    return torch.maximum(spread_c, _LEAST_SPREAD * spread_c[0])
