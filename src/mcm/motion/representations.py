"""The motion representations M between which consistency is asked.

Reference: Zhai et al., Motion Consistency Model, 2024 (arXiv 2406.06890), section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from mcm.errors import UserError, nearest
from mcm.motion.correlation import (
    global_correlation,
    local_correlation,
    scaled_global_correlation,
)
from mcm.motion.frequency import high_frequencies, low_frequencies
from mcm.motion.head import MotionHead

MotionRepresentation = Literal["raw", "diff", "lcor", "gcor", "sgcor", "freql", "freqh", "learn"]


def identity(latents_bcthw: Tensor) -> Tensor:
    """M(x) = x: plain latent consistency."""
    return latents_bcthw


def frame_difference(latents_bcthw: Tensor) -> Tensor:
    """M(x)_t = x_{t+1} − x_t, shape (b, c, t − 1, h, w)."""
    return latents_bcthw[:, :, 1:] - latents_bcthw[:, :, :-1]


FIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "raw": identity,
    "diff": frame_difference,
    "lcor": local_correlation,
    "gcor": global_correlation,
    "sgcor": scaled_global_correlation,
    "freql": low_frequencies,
    "freqh": high_frequencies,
}


class FixedMotion(nn.Module):
    """A representation with nothing to learn, as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        """Wrap a pure function of latents (b, c, t, h, w)."""
        super().__init__()
        self.function = function

    def forward(self, latents_bcthw: Tensor) -> Tensor:
        """Return the motion representation, batch axis first."""
        return self.function(latents_bcthw)


def make_motion(name: MotionRepresentation, channels: int, hidden: int = 64) -> nn.Module:
    """Make the module M of a motion representation: latents (b, c, t, h, w) to (b, ...).

    ========  =======================================================================
    raw       the latents (latent consistency distillation)
    diff      difference of consecutive frames
    lcor      correlation of consecutive frames within a radius of 7
    gcor      correlation of consecutive frames over the whole frame
    sgcor     the same times the square root of the height
    freql     low spatio-temporal frequencies
    freqh     high spatio-temporal frequencies
    learn     learnable per-frame head, the default of the method
    ========  =======================================================================

    Args:
        name: Which one.
        channels: Latent channels (``learn`` only).
        hidden: Width of the head, a multiple of 32 (``learn`` only).

    Raises:
        UserError: ``name`` is unknown.
    """
    if name == "learn":
        return MotionHead(channels, hidden)
    if name in FIXED:
        return FixedMotion(FIXED[name])
    close = nearest(name, get_args(MotionRepresentation))
    raise UserError(
        f"motion: {name!r} is unknown; expected one of "
        f"{', '.join(get_args(MotionRepresentation))}."
        + (f" Did you mean {close!r}?" if close else "")
    )
