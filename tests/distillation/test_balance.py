"""A bound on one loss's gradient, against gradients taken apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mcm.distillation.balance import held, pull


@pytest.fixture
def weights() -> Tensor:
    return torch.randn(6, generator=torch.Generator().manual_seed(0)).requires_grad_()


def latents(weights: Tensor) -> Tensor:
    """Return something that learns, as the student's latents do."""
    return torch.outer(weights, weights).tanh()


def loss(x: Tensor) -> Tensor:
    return (3 * x + 1).square().sum()


def test_pull_is_the_gradients_norm_and_keeps_the_graph(weights: Tensor) -> None:
    x = latents(weights)
    whole = loss(x)
    expected = (6 * (3 * x + 1)).norm().item()
    assert pull(whole, x).item() == pytest.approx(expected, rel=1e-5)
    whole.backward()


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_harder_pull_is_shortened_and_keeps_its_direction(weights: Tensor, share: float) -> None:
    (free,) = torch.autograd.grad(loss(latents(weights)), weights)
    x = latents(weights)
    most = share * pull(loss(x), x)
    bound = held(loss(x), x, most)
    assert bound.item() == pytest.approx(loss(x).item())
    (got,) = torch.autograd.grad(bound, weights)
    torch.testing.assert_close(got, share * free)


def test_a_softer_pull_stays(weights: Tensor) -> None:
    (free,) = torch.autograd.grad(loss(latents(weights)), weights)
    x = latents(weights)
    (got,) = torch.autograd.grad(held(loss(x), x, 2 * pull(loss(x), x)), weights)
    torch.testing.assert_close(got, free)


def test_no_pull_is_none() -> None:
    x = torch.ones(3, requires_grad=True)
    (got,) = torch.autograd.grad(held((0 * x).sum(), x, torch.tensor(1.0)), x)
    assert torch.equal(got, torch.zeros(3))
