import diffusers
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from mcm.diffusion import (
    FlowSchedule,
    Schedule,
    VarianceSchedule,
    boundary_scalings,
    consistency_function,
    convert,
    few_step_timesteps,
    l2,
    pseudo_huber,
)
from mcm.errors import UserError

VARIANCE, FLOW = VarianceSchedule.from_betas(), FlowSchedule()


@pytest.mark.parametrize("original_steps", [40, 50])
def test_few_step_timesteps_are_those_of_diffusers_lcm_scheduler(original_steps: int) -> None:
    scheduler = diffusers.LCMScheduler()
    for steps in range(1, original_steps + 1):
        scheduler.set_timesteps(steps, original_inference_steps=original_steps)
        ours = few_step_timesteps(steps, original_steps, VARIANCE)
        assert torch.equal(ours, scheduler.timesteps)


def test_four_steps_of_fifty() -> None:
    assert few_step_timesteps(4, 50, VARIANCE).tolist() == [999, 759, 499, 259]


@given(steps=st.integers(1, 8), shift=st.floats(0.5, 8))
@settings(max_examples=20, deadline=None)
def test_flow_students_sample_at_timesteps_they_were_trained_on(steps: int, shift: float) -> None:
    schedule = FlowSchedule(shift)
    trained = schedule.spaced_timesteps(40).tolist()
    chosen = few_step_timesteps(steps, 40, schedule).tolist()
    assert chosen == sorted(chosen, reverse=True) and set(chosen) <= set(trained)
    assert chosen[0] == trained[-1] == 1000


@pytest.mark.parametrize("steps", [0, 51])
def test_more_sampling_steps_than_training_timesteps_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps: {steps} sampling steps.*1 \.\. 50"):
        few_step_timesteps(steps, 50, VARIANCE)


@pytest.mark.parametrize("scaling", [4.0, 10.0])
def test_boundary_scalings_are_those_of_diffusers(scaling: float) -> None:
    scheduler = diffusers.LCMScheduler(timestep_scaling=scaling)
    c_skip, c_out = boundary_scalings(torch.arange(1000), scaling)
    for t in (0, 1, 19, 999):
        skip, out = scheduler.get_scalings_for_boundary_condition_discrete(t)
        assert c_skip[t].item() == pytest.approx(skip)
        assert c_out[t].item() == pytest.approx(out)


@pytest.mark.parametrize("schedule", [VARIANCE, FLOW], ids=["variance", "flow"])
def test_the_consistency_function_is_the_identity_at_time_zero(schedule: Schedule) -> None:
    x_t, velocity = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    t_b = torch.zeros(3, dtype=torch.long)
    x0 = convert(velocity, x_t, *schedule.alpha_sigma(t_b), have="velocity", want="x0")
    assert torch.equal(consistency_function(schedule, x_t, x0, t_b), x_t)


def test_the_flow_consistency_function_follows_the_velocity_to_time_zero() -> None:
    x_t, velocity = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    t_b = torch.tensor([1000.0, 400.0, 0.0])
    x0 = convert(velocity, x_t, *FLOW.alpha_sigma(t_b), have="velocity", want="x0")
    expected = x_t - t_b[:, None] / 1000 * velocity
    torch.testing.assert_close(consistency_function(FLOW, x_t, x0, t_b), expected)


def test_each_sample_has_its_own_scalings() -> None:
    x_t, x0 = torch.ones(2, 1, 1), torch.zeros(2, 1, 1)
    f = consistency_function(VARIANCE, x_t, x0, torch.tensor([0, 1]), timestep_scaling=0.5)
    assert f.flatten().tolist() == [1.0, 0.5]


@given(distance=st.floats(0.1, 50))
@settings(max_examples=20, deadline=None)
def test_pseudo_huber_is_absolute_far_away_and_squared_nearby(distance: float) -> None:
    a, b = torch.full((3,), distance), torch.zeros(3)
    assert pseudo_huber(a, b).item() == pytest.approx(distance - 1e-3, abs=1e-5, rel=1e-5)
    near = pseudo_huber(a / 1000, b, delta=100.0).item()
    assert near == pytest.approx((distance / 1000) ** 2 / 200, abs=1e-5)


def test_losses_are_taken_in_float32() -> None:
    a, b = torch.tensor([1.0, 2.0]).half(), torch.tensor([1.001, 2.001]).half()
    for loss in (pseudo_huber, l2):
        assert loss(a, b).dtype == torch.float32
        assert torch.equal(loss(a, b), loss(a.float(), b.float()))
    assert l2(torch.tensor([3.0, 0.0]), torch.zeros(2)).item() == 4.5
