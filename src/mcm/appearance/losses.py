"""Adversarial losses and gradient penalties, as pure functions of logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


def hinge_critic_loss(real_bn: Tensor, fake_bn: Tensor) -> Tensor:
    """L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(x̂))] (Lim & Ye 2017, arXiv 1705.02894)."""
    return relu(1 - real_bn).mean() + relu(1 + fake_bn).mean()


def hinge_generator_loss(fake_bn: Tensor) -> Tensor:
    """L_G = −E[D(x̂)]."""
    return -fake_bn.mean()


def relativistic_critic_loss(real_bn: Tensor, fake_bn: Tensor) -> Tensor:
    """L_D = E[log(1 + exp(D(x̂) − D(x)))] over pairs (R3GAN, Huang et al. 2024).

    The pairing is by position in the batch; both arguments have one shape
    (arXiv 2501.05441, after Jolicoeur-Martineau 2018).
    """
    return softplus(fake_bn - real_bn).mean()


def relativistic_generator_loss(real_bn: Tensor, fake_bn: Tensor) -> Tensor:
    """L_G = E[log(1 + exp(D(x) − D(x̂)))] over pairs (R3GAN, Huang et al. 2024)."""
    return softplus(real_bn - fake_bn).mean()


def gradient_penalty(score_b: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Zero-centred gradient penalty E_b[Σ_i ‖∂D_b/∂x_{b,i}‖²] (Mescheder et al. 2018).

    On real samples it is R1, on generated ones R2 (arXiv 1801.04406).

    Args:
        score_b: One score D per sample, each depending on its own sample only.
        inputs: Tensors (b, …) in the graph of ``score_b``: the pixels, or the
            features of every level.

    Returns:
        A scalar that can be differentiated.
    """
    gradients = torch.autograd.grad(score_b.sum(), list(inputs), create_graph=True)
    squared_b = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
    return squared_b.mean()
