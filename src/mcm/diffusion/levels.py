"""Noise levels: how much signal and how much noise a sample carries."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


def per_sample(value_b: Tensor, x: Tensor) -> Tensor:
    """Reshape one value per sample so that it broadcasts over the sample's other axes.

    Args:
        value_b: Shape (b,), or () for one value shared by all samples.
        x: The samples, batch axis first.

    Returns:
        ``value_b`` with trailing axes of length one, as many axes as ``x``.
    """
    return value_b.reshape(value_b.shape + (1,) * (x.ndim - value_b.ndim))


class NoiseLevel(NamedTuple):
    """Signal and noise scale of x_t = α·x0 + σ·ε, each of shape (b,) or ().

    Variance-preserving schedules have α² + σ² = 1, flow schedules α + σ = 1.
    """

    alpha: Tensor
    sigma: Tensor

    def mix(self, x0: Tensor, noise: Tensor) -> Tensor:
        """x_t = α·x0 + σ·ε."""
        return per_sample(self.alpha, x0) * x0 + per_sample(self.sigma, x0) * noise

    def half_log_snr(self) -> Tensor:
        """λ = log α − log σ; −∞ for pure noise, +∞ for clean data."""
        return self.alpha.log() - self.sigma.log()
