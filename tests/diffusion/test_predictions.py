import math
from typing import get_args

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mcm.diffusion import Prediction, convert
from mcm.errors import UserError

PREDICTIONS = get_args(Prediction)
ANGLES = st.floats(0.02, math.pi / 2 - 0.02)
SEEDS = st.integers(0, 2**31)


def truth(x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> dict[str, Tensor]:
    """Every prediction by its definition."""
    a, s = (value.view(-1, 1, 1) for value in (alpha, sigma))
    return {"x0": x0, "epsilon": noise, "v": a * noise - s * x0, "velocity": noise - x0}


def sample(seed: int, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, len(alpha), 3, 4, generator=generator, dtype=torch.float64)
    x_t = alpha.view(-1, 1, 1) * x0 + sigma.view(-1, 1, 1) * noise
    return x_t, truth(x0, noise, alpha, sigma)


@pytest.mark.parametrize("want", PREDICTIONS)
@pytest.mark.parametrize("have", PREDICTIONS)
@given(angles=st.lists(ANGLES, min_size=1, max_size=3), seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_conversion_matches_the_definitions_on_variance_preserving_levels(
    have: Prediction, want: Prediction, angles: list[float], seed: int
) -> None:
    angle_b = torch.tensor(angles, dtype=torch.float64)
    alpha, sigma = angle_b.cos(), angle_b.sin()
    x_t, expected = sample(seed, alpha, sigma)
    actual = convert(expected[have], x_t, alpha, sigma, have, want)
    torch.testing.assert_close(actual, expected[want], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("want", PREDICTIONS)
@pytest.mark.parametrize("have", PREDICTIONS)
@given(times=st.lists(st.floats(0.02, 0.98), min_size=1, max_size=3), seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_conversion_matches_the_definitions_on_flow_levels(
    have: Prediction, want: Prediction, times: list[float], seed: int
) -> None:
    t_b = torch.tensor(times, dtype=torch.float64)
    x_t, expected = sample(seed, 1 - t_b, t_b)
    actual = convert(expected[have], x_t, 1 - t_b, t_b, have, want)
    torch.testing.assert_close(actual, expected[want], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("have", PREDICTIONS)
@given(angle=st.floats(0.1, math.pi / 2 - 0.1), seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_a_round_trip_through_any_prediction_returns_any_tensor(
    have: Prediction, angle: float, seed: int
) -> None:
    alpha, sigma = torch.tensor([math.cos(angle)]), torch.tensor([math.sin(angle)])
    given_, x_t = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(seed))
    for middle in PREDICTIONS:
        there = convert(given_, x_t, alpha, sigma, have, middle)
        back = convert(there, x_t, alpha, sigma, middle, have)
        torch.testing.assert_close(back, given_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("want", PREDICTIONS)
@pytest.mark.parametrize("have", ["x0", "v", "velocity"])
def test_conversion_is_exact_at_zero_terminal_snr(have: Prediction, want: Prediction) -> None:
    alpha, sigma = torch.tensor([0.0]), torch.tensor([1.0])
    x0, noise = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = truth(x0, noise, alpha, sigma)
    actual = convert(expected[have], noise, alpha, sigma, have, want)
    torch.testing.assert_close(actual, expected[want], rtol=0, atol=1e-6)


@pytest.mark.parametrize("want", ["x0", "v", "velocity"])
def test_epsilon_at_zero_terminal_snr_is_a_clear_error(want: Prediction) -> None:
    x = torch.zeros(2, 3)
    alpha, sigma = torch.tensor([0.5, 0.0]), torch.tensor([0.75**0.5, 1.0])
    with pytest.raises(UserError, match=r"zero terminal SNR.*Use a network that predicts 'v'"):
        convert(x, x, alpha, sigma, "epsilon", want)


def test_one_level_may_be_shared_by_all_samples() -> None:
    x_t, noise = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1))
    alpha, sigma = torch.tensor(0.6), torch.tensor(0.8)
    shared = convert(noise, x_t, alpha, sigma, "epsilon", "x0")
    each = convert(noise, x_t, alpha.expand(3), sigma.expand(3), "epsilon", "x0")
    torch.testing.assert_close(shared, each)
    torch.testing.assert_close(shared, (x_t - 0.8 * noise) / 0.6)
