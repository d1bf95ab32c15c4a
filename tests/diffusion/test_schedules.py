from typing import Any, get_args

import diffusers
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from mcm.diffusion import BetaKind, FlowSchedule, VarianceSchedule
from mcm.errors import UserError


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("kind", get_args(BetaKind))
def test_alphas_are_those_of_diffusers_bit_for_bit(kind: BetaKind, rescale: bool) -> None:
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=kind, beta_start=0.00085, beta_end=0.012, rescale_betas_zero_snr=rescale
    )
    ours = VarianceSchedule.from_betas(kind, 0.00085, 0.012, rescale_zero_snr=rescale)
    assert torch.equal(ours.alphas_cumprod, scheduler.alphas_cumprod)
    assert ours.zero_terminal_snr is rescale
    assert ours.num_timesteps == 1000


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_train_timesteps": 200, "beta_schedule": "linear", "beta_end": 0.03},
        {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    ],
)
def test_a_scheduler_config_is_read_as_diffusers_reads_it(config: dict[str, Any]) -> None:
    scheduler = diffusers.DDIMScheduler(**config)
    ours = VarianceSchedule.from_scheduler_config(scheduler.config)
    assert torch.equal(ours.alphas_cumprod, scheduler.alphas_cumprod)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("snr_shift", [1.0, 3.0])
def test_the_shifted_snr_of_cogvideox(snr_shift: float, rescale: bool) -> None:
    scheduler = diffusers.CogVideoXDDIMScheduler(
        snr_shift_scale=snr_shift, rescale_betas_zero_snr=rescale
    )
    ours = VarianceSchedule.from_scheduler_config(scheduler.config)
    torch.testing.assert_close(
        ours.alphas_cumprod, scheduler.alphas_cumprod.float(), rtol=1e-5, atol=1e-6
    )


def test_noise_is_added_as_diffusers_adds_it() -> None:
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear")
    schedule = VarianceSchedule.from_scheduler_config(scheduler.config)
    x0, noise = torch.randn(2, 3, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    t_b = torch.tensor([0, 500, 999])
    expected = scheduler.add_noise(x0, noise, t_b)
    torch.testing.assert_close(schedule.add_noise(x0, noise, t_b), expected)


def test_the_last_timestep_of_a_zero_snr_schedule_is_pure_noise() -> None:
    schedule = VarianceSchedule.from_betas(rescale_zero_snr=True)
    x0, noise = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(schedule.add_noise(x0, noise, torch.tensor([999])), noise)


@pytest.mark.parametrize("field", [{"beta_schedule": "sigmoid"}, {"trained_betas": [0.1]}])
def test_a_config_that_cannot_be_read_names_its_field(field: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(field))):
        VarianceSchedule.from_scheduler_config(field)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (VarianceSchedule, {"beta_start": "0.1"}),
        (VarianceSchedule, {"beta_start": None}),
        (VarianceSchedule, {"beta_end": -0.1}),
        (VarianceSchedule, {"num_train_timesteps": 0}),
        (FlowSchedule, {"num_train_timesteps": "1000"}),
        (FlowSchedule, {"shift": 0}),
        (FlowSchedule, {"shift_terminal": 1.5}),
    ],
)
def test_values_of_a_config_that_cannot_be_are_named(kind: Any, field: dict[str, Any]) -> None:
    [(key, value)] = field.items()
    with pytest.raises(UserError, match=f"^{key}: got {value!r}, expected a"):
        kind.from_scheduler_config(field)


@pytest.mark.parametrize("schedule", [VarianceSchedule.from_betas(), FlowSchedule()])
@pytest.mark.parametrize("steps", [0, 1001])
def test_more_or_fewer_points_than_timesteps_are_refused(schedule: Any, steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps: {steps} points"):
        schedule.spaced_timesteps(steps)


@given(u=st.floats(0, 1), shift=st.floats(0.2, 12))
@settings(max_examples=50, deadline=None)
def test_a_shift_is_undone_by_its_inverse(u: float, shift: float) -> None:
    u_b = torch.tensor([u], dtype=torch.float64)
    back = FlowSchedule(1 / shift).shifted(FlowSchedule(shift).shifted(u_b))
    torch.testing.assert_close(back, u_b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shift", [1.0, 5.0])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_flow_timesteps_are_those_of_diffusers_flow_map_scheduler(shift: float, steps: int) -> None:
    scheduler = diffusers.FlowMapEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    ours = FlowSchedule(shift).spaced_timesteps(steps).flip(0)
    torch.testing.assert_close(ours, scheduler.timesteps.float(), rtol=1e-6, atol=0)


def test_flow_noise_runs_straight_from_clean_to_noise() -> None:
    x0, noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    x_t = FlowSchedule().add_noise(x0, noise, torch.tensor([0.0, 250.0, 1000.0]))
    torch.testing.assert_close(x_t[1], 0.75 * x0[1] + 0.25 * noise[1])
    assert torch.equal(x_t[0], x0[0]) and torch.equal(x_t[2], noise[2])


@pytest.mark.parametrize("key", ["shift", "flow_shift"])
def test_the_shift_is_read_from_either_key(key: str) -> None:
    assert FlowSchedule.from_scheduler_config({key: 3}) == FlowSchedule(3.0)


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_a_dynamic_shift_is_the_one_diffusers_applies(kind: Any) -> None:
    config = {"use_dynamic_shifting": True, "time_shift_type": kind, "max_shift": 2.05}
    schedule = FlowSchedule.from_scheduler_config(config, tokens=1000)
    mu = 0.5 + (2.05 - 0.5) * (1000 - 256) / (4096 - 256)
    sigmas = torch.linspace(1, 0.1, 7, dtype=torch.float64)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**config)
    expected = scheduler.time_shift(mu, 1.0, sigmas)
    torch.testing.assert_close(schedule.shifted(sigmas), expected)
    with pytest.raises(UserError, match="number of latent tokens"):
        FlowSchedule.from_scheduler_config(config)


@pytest.mark.parametrize("steps", [2, 4, 50])
def test_points_stretched_to_a_terminal_are_those_of_diffusers(steps: int) -> None:
    config = {"shift": 7.0, "shift_terminal": 0.1}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**config)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist())
    ours = FlowSchedule.from_scheduler_config(config).spaced_timesteps(steps)
    torch.testing.assert_close(ours.flip(0), scheduler.timesteps, rtol=1e-5, atol=1e-3)
    assert ours[0] == pytest.approx(100.0)


def test_one_point_has_no_terminal_to_be_stretched_to() -> None:
    assert FlowSchedule(7.0, terminal=0.1).spaced_timesteps(1).tolist() == [1000.0]
