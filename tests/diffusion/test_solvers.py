import math
from collections.abc import Callable
from itertools import pairwise

import diffusers
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from mcm.diffusion import (
    FlowSchedule,
    NoiseLevel,
    Schedule,
    SolverGrid,
    VarianceSchedule,
    convert,
    ddim_step,
    dpmpp_2m_step,
    euler_step,
    few_step_timesteps,
    guide,
)
from mcm.errors import UserError

SCHEDULES = {"variance": VarianceSchedule.from_betas(), "flow": FlowSchedule(shift=3.0)}
SEEDS = st.integers(0, 2**31)
PURE_NOISE = NoiseLevel(torch.tensor(0.0), torch.tensor(1.0))
CLEAN = NoiseLevel(torch.tensor(1.0), torch.tensor(0.0))


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 7, 40, 50])
def test_the_grid_walks_down_to_zero(steps: int) -> None:
    for schedule in SCHEDULES.values():
        grid = SolverGrid.evenly(schedule, steps)
        start_b, previous_b = grid.pair(torch.arange(steps))
        assert len(grid) == steps
        assert torch.equal(start_b[:-1], previous_b[1:])
        assert previous_b[0] == 0
        assert (start_b > previous_b).all()


def test_the_grid_of_fifty_steps() -> None:
    grid = SolverGrid.evenly(SCHEDULES["variance"], 50)
    assert grid.timesteps_n.tolist() == list(range(19, 1000, 20))


def test_a_grid_that_leaves_out_the_noisy_end_is_refused() -> None:
    """⌊T/N⌋ of 501 points is 1: they would end at timestep 500, where half the signal is left."""
    for points, near in ((300, 250), (501, 500), (600, 500)):
        with pytest.raises(UserError, match=f"got {points}, whose last point .* such as {near}"):
            SolverGrid.evenly(SCHEDULES["variance"], points)
    assert SolverGrid.evenly(SCHEDULES["variance"], 30).timesteps_n[-1] == 989
    assert SolverGrid.evenly(SCHEDULES["flow"], 501).timesteps_n[-1] == 1000


@pytest.mark.parametrize(("points", "segments"), [(20, 4), (20, 3), (50, 8), (7, 7), (10, 1)])
def test_segments_end_where_a_sampler_of_as_many_steps_goes_on(points: int, segments: int) -> None:
    schedule = SCHEDULES["variance"]
    grid = SolverGrid.evenly(schedule, points)
    ends_n = grid.segment_ends(segments)
    visited = few_step_timesteps(segments, points, schedule).tolist()
    assert ends_n[0] == -1 and (ends_n < torch.arange(points)).all()
    for start, following in zip(visited, [*visited[1:], None], strict=True):
        end = int(ends_n[grid.timesteps_n.tolist().index(start)])
        assert (None if end < 0 else int(grid.timesteps_n[end])) == following
    assert (ends_n.diff() >= 0).all() and len(ends_n.unique()) == segments


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_last_grid_point_is_pure_noise(schedule: Schedule) -> None:
    grid = SolverGrid.evenly(schedule, 10)
    x0, noise = randn(0, 2, 2, 3).float()
    x_t = grid.add_noise(x0, noise, torch.tensor([9, 8]))
    assert torch.equal(x_t[0], noise[0])
    expected = schedule.add_noise(x0[1:], noise[1:], grid.timesteps_n[8:9])
    torch.testing.assert_close(x_t[1:], expected)


@given(seed=SEEDS, pair=st.tuples(st.integers(1, 999), st.integers(0, 999)))
@settings(max_examples=30, deadline=None)
def test_ddim_is_exact_when_all_data_is_one_point(seed: int, pair: tuple[int, int]) -> None:
    schedule = VarianceSchedule(SCHEDULES["variance"].alphas_cumprod.double())
    point, noise = randn(seed, 2, 1, 4)
    now, later = (schedule.alpha_sigma(torch.tensor([t])) for t in pair)
    x_t = now.mix(point, noise)
    epsilon = convert(point, x_t, *now, have="x0", want="epsilon")
    expected = later.mix(point, noise)
    torch.testing.assert_close(ddim_step(point, epsilon, later), expected, rtol=1e-6, atol=1e-6)


@given(seed=SEEDS, pair=st.tuples(st.floats(1, 1000), st.floats(0, 1000)))
@settings(max_examples=30, deadline=None)
def test_a_flow_euler_step_is_exact_on_straight_lines(seed: int, pair: tuple[float, float]) -> None:
    schedule = FlowSchedule()
    point, noise = randn(seed, 2, 1, 4)
    levels = (schedule.alpha_sigma(torch.tensor([t], dtype=torch.float64)) for t in pair)
    now, later = levels
    stepped = euler_step(now.mix(point, noise), noise - point, now, later)
    torch.testing.assert_close(stepped, later.mix(point, noise))


def test_on_flow_levels_ddim_is_an_euler_step() -> None:
    x_t, velocity = randn(0, 2, 2, 3)
    levels = [NoiseLevel(1 - t, t) for t in torch.tensor([[0.9, 0.3], [0.4, 0.0]]).double()]
    x0, epsilon = (convert(velocity, x_t, *levels[0], "velocity", w) for w in ("x0", "epsilon"))
    stepped = euler_step(x_t, velocity, *levels)
    torch.testing.assert_close(ddim_step(x0, epsilon, levels[1]), stepped)


def angle_level(angle: float) -> NoiseLevel:
    angle_ = torch.tensor(angle, dtype=torch.float64)
    return NoiseLevel(angle_.cos(), angle_.sin())


def gaussian_error(solver: str, steps: int, spread: float = 0.5) -> float:
    """Error against the closed form when data is N(0, s²): x ∝ √(α²s² + σ²)."""
    levels = [angle_level(float(a)) for a in torch.linspace(1.5, 0.3, steps + 1)]
    x = torch.ones(1, dtype=torch.float64)
    earlier = None
    for now, later in pairwise(levels):
        x0 = x * now.alpha * spread**2 / (now.alpha**2 * spread**2 + now.sigma**2)
        if solver == "ddim":
            x = ddim_step(x0, convert(x0, x, *now, have="x0", want="epsilon"), later)
        else:
            x, earlier = dpmpp_2m_step(x, x0, now, later, earlier), (x0, now)
    first, last = (level.alpha**2 * spread**2 + level.sigma**2 for level in (levels[0], levels[-1]))
    return float((x - (last / first).sqrt()).abs())


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
def test_solvers_converge_to_the_closed_form_at_their_order(solver: str, order: int) -> None:
    coarse, fine = gaussian_error(solver, 64), gaussian_error(solver, 128)
    assert fine < 1e-2
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def linear_network(seed: int) -> Callable[[Tensor, int], Tensor]:
    weight, bias = randn(seed, 6, 6) / 10, randn(seed + 1, 6) / 10
    return lambda x, t: x @ weight + bias * (1 + t / 1000)


@pytest.mark.parametrize("steps", [5, 20])
def test_dpmpp_2m_agrees_with_diffusers(steps: int) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", timestep_spacing="trailing", algorithm_type="dpmsolver++"
    )
    scheduler.set_timesteps(steps)
    schedule, network = VarianceSchedule.from_scheduler_config(scheduler.config), linear_network(0)
    ours = theirs = randn(3, 2, 6)
    earlier = None
    levels = [*(schedule.alpha_sigma(t) for t in scheduler.timesteps), CLEAN]
    for t, now, later in zip(scheduler.timesteps, levels, levels[1:], strict=False):
        theirs = scheduler.step(network(theirs, int(t)), t, theirs).prev_sample
        x0 = convert(network(ours, int(t)), ours, *now, have="epsilon", want="x0")
        ours, earlier = dpmpp_2m_step(ours, x0, now, later, earlier), (x0, now)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_dpmpp_2m_is_a_ddim_step_from_pure_noise_and_to_clean_data() -> None:
    x_t, x0, x0_earlier = randn(0, 3, 1, 4)
    middle = NoiseLevel(torch.tensor(0.6), torch.tensor(0.8))
    torch.testing.assert_close(
        dpmpp_2m_step(x_t, x0, PURE_NOISE, middle), ddim_step(x0, x_t, middle)
    )
    after_noise = dpmpp_2m_step(x_t, x0, middle, angle_level(0.3), (x0_earlier, PURE_NOISE))
    assert torch.equal(after_noise, dpmpp_2m_step(x_t, x0, middle, angle_level(0.3)))
    to_clean = dpmpp_2m_step(x_t, x0, middle, CLEAN, (x0_earlier, angle_level(1.2)))
    torch.testing.assert_close(to_clean, x0)
    torch.testing.assert_close(dpmpp_2m_step(x_t, x0, PURE_NOISE, CLEAN), x0)


@given(seed=SEEDS, w=st.floats(0, 15))
@settings(max_examples=20, deadline=None)
def test_guidance_and_conversion_commute(seed: int, w: float) -> None:
    x_t, cond, uncond = randn(seed, 3, 2, 4)
    level, w_b = angle_level(1.0), torch.tensor([w, 0.0], dtype=torch.float64)
    first = convert(guide(cond, uncond, w_b), x_t, *level, have="v", want="x0")
    x0s = (convert(y, x_t, *level, have="v", want="x0") for y in (cond, uncond))
    torch.testing.assert_close(guide(*x0s, w_b), first)
    assert torch.equal(guide(cond, uncond, w_b)[1], cond[1])
