import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from mcm.appearance.losses import (
    gradient_penalty,
    hinge_critic_loss,
    hinge_generator_loss,
    relativistic_critic_loss,
    relativistic_generator_loss,
)

LOGIT = st.floats(-20, 20)


@given(LOGIT, LOGIT)
def test_hinge_closed_form(real: float, fake: float) -> None:
    loss = hinge_critic_loss(torch.tensor([[real]]), torch.tensor([[fake]]))
    expected = max(0.0, 1 - real) + max(0.0, 1 + fake)
    assert math.isclose(loss.item(), expected, rel_tol=1e-5, abs_tol=1e-5)


def test_hinge_is_zero_beyond_the_margin_only() -> None:
    real, fake = torch.tensor([[1.0, 3.0]]), torch.tensor([[-1.0, -3.0]])
    assert hinge_critic_loss(real, fake) == 0
    assert hinge_critic_loss(fake, real) == (2 + 4) / 2 * 2


def test_hinge_generator_is_minus_the_mean() -> None:
    assert hinge_generator_loss(torch.tensor([[1.0, 2.0], [3.0, -4.0]])) == -0.5


@given(LOGIT, LOGIT)
def test_relativistic_closed_form(real: float, fake: float) -> None:
    real_bn, fake_bn = torch.tensor([[real]]), torch.tensor([[fake]])
    critic = relativistic_critic_loss(real_bn, fake_bn).item()
    generator = relativistic_generator_loss(real_bn, fake_bn).item()
    gap = real - fake
    assert math.isclose(critic, math.log1p(math.exp(-gap)), rel_tol=1e-4, abs_tol=1e-5)
    assert math.isclose(generator, math.log1p(math.exp(gap)), rel_tol=1e-4, abs_tol=1e-5)


def test_relativistic_loss_ignores_a_common_offset() -> None:
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    shifted = relativistic_critic_loss(real + 5, fake + 5)
    torch.testing.assert_close(shifted, relativistic_critic_loss(real, fake))


def test_penalty_of_a_linear_critic_is_its_squared_weight() -> None:
    weight = torch.randn(3, 4, 4, dtype=torch.float64)
    images = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty((images * weight).sum((1, 2, 3)) + 7, [images])
    torch.testing.assert_close(penalty, weight.square().sum())


def test_penalty_of_a_quadratic_critic_averages_over_the_batch_and_adds_inputs() -> None:
    first = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    second = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    score_b = first.square().sum(1) / 2 + 3 * second.sum((1, 2))
    expected = first.square().sum(1).mean() + 9 * 4
    torch.testing.assert_close(gradient_penalty(score_b, [first, second]), expected)


def test_penalty_gradient_closed_form() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    x = torch.randn(6, 2, requires_grad=True)
    gradient_penalty(x @ weight, [x]).backward()
    torch.testing.assert_close(weight.grad, torch.tensor([6.0, 8.0]))
