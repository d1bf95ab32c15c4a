"""Algebra between what a diffusion network may predict: x0, ε, v and flow velocity.

Every prediction is a fixed linear combination p·x0 + q·ε of the clean sample and the
noise, and so is the noisy sample x_t = α·x0 + σ·ε. Any one prediction together with x_t
therefore fixes all others.

References:
    v-prediction: Salimans and Ho, Progressive Distillation, 2022 (arXiv 2202.00512).
    Flow velocity: Lipman et al., Flow Matching, 2023 (arXiv 2210.02747), with the time
    direction of Liu et al., Rectified Flow, reversed: t = 1 is noise.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mcm.diffusion.levels import NoiseLevel, per_sample
from mcm.errors import UserError

Prediction = Literal["x0", "epsilon", "v", "velocity"]


def _coefficients(prediction: Prediction, level: NoiseLevel) -> tuple[Tensor, Tensor]:
    """Return (p, q) of prediction = p·x0 + q·ε."""
    alpha, sigma = level
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    match prediction:
        case "x0":
            return one, zero
        case "epsilon":
            return zero, one
        case "v":
            return -sigma, alpha
        case "velocity":
            return -one, one


def convert(
    prediction: Tensor,
    x_t: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    have: Prediction,
    want: Prediction,
) -> Tensor:
    """Turn one prediction into another at the same noise level.

    With x_t = α·x0 + σ·ε, have = p·x0 + q·ε and want = p'·x0 + q'·ε::

        want = [(α·q' − σ·p')·have + (p'·q − q'·p)·x_t] / (α·q − σ·p)

    The four predictions are (p, q) = (1, 0) for x0, (0, 1) for ε, (−σ, α) for v and
    (−1, 1) for the flow velocity ε − x0. The denominator is −σ, α, α² + σ² and α + σ:
    x0, v and velocity convert at zero terminal SNR (α = 0), ε does not.

    Args:
        prediction: What the network gave, shape (b, ...).
        x_t: Its noisy input, same shape.
        alpha: Signal scale, shape (b,) or ().
        sigma: Noise scale, shape (b,) or ().
        have: What ``prediction`` is.
        want: What to return.

    Returns:
        The wanted prediction, in the promoted dtype of ``prediction`` and ``alpha``.

    Raises:
        UserError: ``have`` is "epsilon" and some α is 0: pure noise says nothing of x0.
    """
    if have == want:
        return prediction
    if have == "epsilon" and bool((alpha == 0).any()):
        raise UserError(
            f"prediction: 'epsilon' cannot be turned into {want!r} at zero terminal SNR "
            "(alpha = 0): the noisy sample holds no trace of x0. Use a network that predicts "
            "'v', 'x0' or 'velocity', or a schedule without rescale_zero_snr."
        )
    level = NoiseLevel(per_sample(alpha, x_t), per_sample(sigma, x_t))
    p, q = _coefficients(have, level)
    p_want, q_want = _coefficients(want, level)
    determinant = level.alpha * q - level.sigma * p
    of_prediction = level.alpha * q_want - level.sigma * p_want
    of_sample = p_want * q - q_want * p
    return (of_prediction * prediction + of_sample * x_t) / determinant
