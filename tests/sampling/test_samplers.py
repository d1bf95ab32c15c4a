"""Every sampler against the diffusers scheduler of its method, on the same noise."""

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_tcd import TCDScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from tests.sampling.fake import PLAIN, SHAPE, ZERO_SNR, FakeBackbone
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.diffusion import FlowSchedule, Schedule
from mcm.errors import UserError
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import SAMPLERS, Plan, find_sampler, renoise, trailing_timesteps

SEEDS = [7, 8]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
OF_PLAIN: dict[str, Any] = {**BETAS, "beta_schedule": "linear", "prediction_type": "epsilon"}
OF_ZERO_SNR: dict[str, Any] = {
    **BETAS,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
}
TRAILING: dict[str, Any] = {"timestep_spacing": "trailing"}
CASES = [(PLAIN, "epsilon", OF_PLAIN), (ZERO_SNR, "v", OF_ZERO_SNR)]


def condition_of(backbone: FakeBackbone) -> Condition:
    return backbone.encode_prompt(["a fox", "a star"])


def ours(name: str, backbone: Any, **fields: Any) -> Tensor:
    denoise = Denoiser(backbone, condition_of(backbone))
    plan = Plan(SHAPE, **fields)
    return SAMPLERS[name](denoise, Noise.from_seeds(SEEDS), plan)


def stock(
    scheduler: Any, backbone: FakeBackbone, steps: int, eta: float | None = None, **options: Any
) -> Tensor:
    """Run a diffusers scheduler as a stock pipeline does, with one generator per sample."""
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    scheduler.set_timesteps(steps, **options)
    x = torch.cat([torch.randn(1, *SHAPE, generator=g) for g in generators])
    x = x * scheduler.init_noise_sigma
    takes_noise = isinstance(scheduler, LCMScheduler | TCDScheduler)
    for t in scheduler.timesteps:
        output = backbone.raw(x, t.expand(len(x)), condition_of(backbone))
        extra: dict[str, Any] = {"generator": generators} if takes_noise else {}
        extra |= {} if eta is None else {"eta": eta}
        x = scheduler.step(output, t, x, return_dict=False, **extra)[0]
    return x


@pytest.mark.parametrize(("schedule", "prediction", "config"), CASES, ids=["plain", "zero-snr"])
@pytest.mark.parametrize(("steps", "original"), [(1, 50), (4, 50), (8, 20), (3, 40)])
def test_consistency_is_stock_lcm(
    schedule: Schedule, prediction: Any, config: dict[str, Any], steps: int, original: int
) -> None:
    backbone = FakeBackbone(schedule, prediction)
    scheduler = LCMScheduler(
        **config, original_inference_steps=original, timestep_scaling=4.0, clip_sample=False
    )
    theirs = stock(scheduler, backbone, steps)
    assert torch.allclose(
        ours("consistency", backbone, steps=steps, original_steps=original), theirs, atol=1e-4
    )


@pytest.mark.parametrize(("schedule", "prediction", "config"), CASES, ids=["plain", "zero-snr"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.8])
def test_stochasticity_is_that_of_stock_tcd(
    schedule: Schedule, prediction: Any, config: dict[str, Any], gamma: float
) -> None:
    """Every input of the network is the same; boundary scalings are set to 0 and 1.

    (The stock scheduler stops at timestep 0, not at clean data, so results differ a little.)
    """

    class Recording(FakeBackbone):
        def raw(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
            inputs.append(x_bcthw.clone())
            return super().raw(x_bcthw, t_b, condition)

    inputs: list[Tensor] = []
    backbone = Recording(schedule, prediction)
    scheduler = TCDScheduler(**config, original_inference_steps=50, clip_sample=False)
    stock(scheduler, backbone, 4, eta=gamma)
    fields = {"steps": 4, "original_steps": 50, "timestep_scaling": 1e6}
    ours("consistency", backbone, stochasticity=gamma, **fields)
    assert len(inputs) == 8
    for theirs, mine in zip(inputs[:4], inputs[4:], strict=True):
        assert torch.allclose(mine, theirs, atol=2e-3)


def test_stochasticity_between_noise_levels_keeps_the_variance() -> None:
    """Signal and noise of unit variance give a sample of the level's own, however mixed."""
    noise = torch.randn(3, 40_000, generator=torch.Generator().manual_seed(0))
    for schedule, t in (
        (ZERO_SNR, torch.tensor(500)),
        (FlowSchedule(shift=3.0), torch.tensor(600.0)),
    ):
        alpha, sigma = schedule.alpha_sigma(t)
        for gamma in (0.0, 0.5, 1.0):
            x = renoise(schedule, noise[0], noise[1], noise[2], t, gamma)
            assert x.var() == pytest.approx(float(alpha**2 + sigma**2), rel=0.03)


def test_timestep_scaling_reaches_the_boundary() -> None:
    backbone = FakeBackbone(PLAIN, "epsilon")
    config = {**OF_PLAIN, "original_inference_steps": 500, "clip_sample": False}
    small, large = (
        ours("consistency", backbone, steps=250, original_steps=500, timestep_scaling=scaling)
        for scaling in (0.01, 10.0)
    )
    assert not torch.allclose(small, large, atol=1e-3)
    theirs = stock(LCMScheduler(**config, timestep_scaling=0.01), backbone, 250)
    assert torch.allclose(small, theirs, atol=1e-3)


@pytest.mark.parametrize(("schedule", "prediction", "config"), CASES, ids=["plain", "zero-snr"])
@pytest.mark.parametrize("steps", [1, 4, 10, 50])
def test_ddim_is_stock_ddim(
    schedule: Schedule, prediction: Any, config: dict[str, Any], steps: int
) -> None:
    backbone = FakeBackbone(schedule, prediction)
    theirs = stock(DDIMScheduler(**config, **TRAILING, clip_sample=False), backbone, steps)
    assert torch.allclose(ours("ddim", backbone, steps=steps), theirs, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 10, 25])
def test_dpmpp_2m_is_stock_dpmpp_2m(steps: int) -> None:
    backbone = FakeBackbone(PLAIN, "epsilon")
    scheduler = DPMSolverMultistepScheduler(**OF_PLAIN, **TRAILING, final_sigmas_type="zero")
    theirs = stock(scheduler, backbone, steps)
    assert torch.allclose(ours("dpmpp_2m", backbone, steps=steps), theirs, atol=2e-4)


def test_unipc_is_stock_unipc() -> None:
    backbone = FakeBackbone(PLAIN, "epsilon")
    scheduler = UniPCMultistepScheduler(**OF_PLAIN, **TRAILING, final_sigmas_type="zero")
    theirs = stock(scheduler, backbone, 10)
    assert torch.allclose(ours("unipc", backbone, steps=10), theirs, atol=1e-3)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "unipc"])
def test_zero_terminal_snr_starts_at_pure_noise(name: str) -> None:
    backbone = FakeBackbone()
    steps_seen: list[Tensor] = []
    result = ours(
        name, backbone, steps=20, on_step=lambda step, steps, x0: steps_seen.append(x0.clone())
    )
    first = Noise.from_seeds(SEEDS).draw(SHAPE)
    expected = -backbone.raw(first, torch.tensor([999, 999]), condition_of(backbone))
    assert torch.allclose(steps_seen[0], expected, atol=1e-5)
    assert torch.isfinite(result).all()
    assert (result - ours("ddim", backbone, steps=500)).abs().mean() < 0.1


def test_euler_follows_straight_lines_exactly() -> None:
    """For v̂ = ε − x0 with a fixed x0 the path is straight: any number of steps gives x0."""
    x0 = torch.full((2, *SHAPE), 0.3)

    class Straight(FakeBackbone):
        def raw(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
            return (x_bcthw - x0) / (t_b / 1000)[:, None, None, None, None]

    backbone = Straight(FlowSchedule(shift=5.0), "velocity")
    for steps in (1, 3, 8):
        assert torch.allclose(ours("euler", backbone, steps=steps), x0, atol=1e-5)
    assert torch.allclose(ours("ddim", backbone, steps=3), x0, atol=1e-5)
    assert torch.allclose(ours("consistency", backbone, steps=3), x0, atol=1e-5)


def test_euler_and_ddim_agree_on_flow() -> None:
    backbone = FakeBackbone(FlowSchedule(shift=3.0), "velocity")
    assert torch.allclose(
        ours("euler", backbone, steps=7), ours("ddim", backbone, steps=7), atol=1e-5
    )


def test_solvers_refuse_the_other_kind_of_schedule() -> None:
    with pytest.raises(UserError, match="use ddim"):
        ours("euler", FakeBackbone(), steps=2)
    with pytest.raises(UserError, match="use euler"):
        ours("unipc", FakeBackbone(FlowSchedule(), "velocity"), steps=2)


@pytest.mark.parametrize("steps", [3, 7, 30])
def test_trailing_timesteps_start_at_the_last(steps: int) -> None:
    timesteps = trailing_timesteps(ZERO_SNR, steps)
    scheduler = DDIMScheduler(**TRAILING)
    scheduler.set_timesteps(steps)
    assert timesteps[0] == 999
    assert (timesteps - scheduler.timesteps).abs().max() <= 1


def test_every_step_is_reported_once() -> None:
    for name in ("consistency", "ddim", "dpmpp_2m", "unipc"):
        seen: list[tuple[int, int]] = []
        ours(name, FakeBackbone(), steps=5, on_step=lambda k, n, _, seen=seen: seen.append((k, n)))
        assert seen == [(k, 5) for k in range(1, 6)]


def test_more_steps_than_trained_on_are_refused() -> None:
    with pytest.raises(UserError, match=r"within 1 \.\. 20"):
        ours("consistency", FakeBackbone(), steps=21, original_steps=20)


def test_unknown_sampler_is_guessed() -> None:
    with pytest.raises(UserError, match="Did you mean 'ddim'"):
        find_sampler("dim")
