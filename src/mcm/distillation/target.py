"""The target network: an exponential moving average of the student."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


@torch.no_grad()
def ema_update(target: Iterable[Tensor], source: Iterable[Tensor], decay: float) -> None:
    """θ⁻ ← d·θ⁻ + (1 − d)·θ, in place.

    Args:
        target: θ⁻.
        source: θ, in the same order.
        decay: d in [0, 1).
    """
    pairs = list(zip(target, source, strict=True))
    torch._foreach_lerp_([a for a, _ in pairs], [b.detach() for _, b in pairs], 1 - decay)


def copies(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, without their gradients, by the same names."""
    return {name: value.detach().clone() for name, value in values.items()}


@torch.no_grad()
def copy_values(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copy tensors of the same names, in place."""
    assert target.keys() == source.keys(), sorted(target.keys() ^ source.keys())[:3]
    for name, value in source.items():
        target[name].copy_(value)
