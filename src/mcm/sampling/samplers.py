"""Samplers: from noise to latents in a given number of network steps.

A sampler is a function of a denoiser, the seeded noise and a plan. It starts at pure noise
on the noisiest timestep and ends at clean latents.

References:
    consistency: multistep sampling, Song et al., 2023 (arXiv 2303.01469), algorithm 1, on the
    timesteps of LCM (arXiv 2310.04378), with the stochasticity γ of TCD, Zheng et al., 2024
    (arXiv 2402.19159), section 4.2. Steps of the others: :mod:`mcm.diffusion.solvers`.
    Trailing timesteps: Lin et al., 2023 (arXiv 2305.08891), table 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mcm.diffusion import (
    FlowSchedule,
    NoiseLevel,
    Schedule,
    consistency_function,
    convert,
    ddim_step,
    dpmpp_2m_step,
    euler_step,
    few_step_timesteps,
)
from mcm.errors import UserError, nearest
from mcm.sampling.denoiser import Denoise, Noise

OnStep = Callable[[int, int, Tensor], None]
"""Called after each network step with its number from 1, the number of steps, and x̂0."""


@dataclass(frozen=True)
class Plan:
    """What a sampler is to make.

    Attributes:
        shape: Latents of one sample, (c, t, h, w).
        steps: Network steps.
        original_steps: Solver grid points of the student's training (``consistency`` only).
        timestep_scaling: k of the student's c_skip and c_out (``consistency`` only).
        device: Where to sample.
        on_step: Called after each step, or ``None``.
        stochasticity: γ in [0, 1]: how much of the noise between steps is fresh (``consistency``
            only).
    """

    shape: tuple[int, int, int, int]
    steps: int
    original_steps: int = 50
    timestep_scaling: float = 4.0
    device: torch.device | str = "cpu"
    on_step: OnStep | None = None
    stochasticity: float = 1.0

    def report(self, step: int, x0_bcthw: Tensor) -> None:
        """Tell the caller that step number ``step``, counted from 0, is done."""
        if self.on_step is not None:
            self.on_step(step + 1, self.steps, x0_bcthw)


Sampler = Callable[[Denoise, Noise, Plan], Tensor]


def consistency(denoise: Denoise, noise: Noise, plan: Plan) -> Tensor:
    """x̂0 = f(x, t_k), then back to t_{k+1} with γ of the noise fresh; the last x̂0 is the result."""
    timesteps_n = few_step_timesteps(plan.steps, plan.original_steps, denoise.schedule)
    return consistency_from(denoise, noise, plan, noise.draw(plan.shape), timesteps_n)


def consistency_from(
    denoise: Denoise,
    noise: Noise,
    plan: Plan,
    x_bcthw: Tensor,
    timesteps_n: Tensor,
    correct: Callable[[Tensor], Tensor] = lambda x0: x0,
) -> Tensor:
    """Sample as :func:`consistency` does, from noisy latents at the first of some timesteps.

    Args:
        denoise: The model and its prompts.
        noise: Source of fresh noise.
        plan: What is made.
        x_bcthw: Latents at the first timestep.
        timesteps_n: Falling timesteps.
        correct: Applied to every x̂0, as to keep what must not change.
    """
    schedule, timesteps_n = denoise.schedule, timesteps_n.to(plan.device)
    x_bcthw = x_bcthw.to(plan.device)
    for step, t in enumerate(timesteps_n):
        x0 = denoise(x_bcthw, t, "x0")
        x0 = correct(consistency_function(schedule, x_bcthw, x0, t, plan.timestep_scaling))
        plan.report(step, x0)
        if step == plan.steps - 1:
            return x0
        epsilon = convert(x0, x_bcthw, *schedule.alpha_sigma(t), have="x0", want="epsilon")
        fresh = noise.draw(plan.shape).to(plan.device)
        following = timesteps_n[step + 1]
        x_bcthw = renoise(schedule, x0, epsilon, fresh, following, plan.stochasticity)
    raise AssertionError("a plan has at least one step")


def renoise(
    schedule: Schedule, x0: Tensor, epsilon: Tensor, fresh: Tensor, t: Tensor, stochasticity: float
) -> Tensor:
    """x_s = α_s·x̂0 + σ_s·ε̂ at s = (1 − γ)·t, then x_t = r·x_s + √(σ_t² − r²σ_s²)·ε, r = α_t/α_s.

    With γ = 1 all noise is fresh, as in LCM; with γ = 0 none is, as in DDIM.

    Args:
        schedule: Of the model.
        x0: The model's clean sample.
        epsilon: The noise that it sees in its input.
        fresh: Fresh noise.
        t: Timestep to go to, ().
        stochasticity: γ.
    """
    if stochasticity == 1:
        return schedule.add_noise(x0, fresh, t)
    between = (1 - stochasticity) * t
    if not isinstance(schedule, FlowSchedule):
        between = between.floor().long()
    target, start = schedule.alpha_sigma(t), schedule.alpha_sigma(between)
    ratio = target.alpha / start.alpha
    added = (target.sigma**2 - (ratio * start.sigma) ** 2).clamp(min=0).sqrt()
    return ratio * start.mix(x0, epsilon) + added * fresh


def ddim(denoise: Denoise, noise: Noise, plan: Plan) -> Tensor:
    """x_s = α_s·x̂0 + σ_s·ε̂ (η = 0) from the noisiest timestep to clean data."""
    x_bcthw = noise.draw(plan.shape).to(plan.device)
    timesteps_n, levels = trajectory(denoise.schedule, plan)
    for step, t in enumerate(timesteps_n):
        x0 = denoise(x_bcthw, t, "x0")
        epsilon = convert(x0, x_bcthw, *levels[step], have="x0", want="epsilon")
        x_bcthw = ddim_step(x0, epsilon, levels[step + 1])
        plan.report(step, x0)
    return x_bcthw


def dpmpp_2m(denoise: Denoise, noise: Noise, plan: Plan) -> Tensor:
    """DPM-Solver++(2M) from the noisiest timestep to clean data; its last step is first order."""
    x_bcthw = noise.draw(plan.shape).to(plan.device)
    timesteps_n, levels = trajectory(denoise.schedule, plan)
    earlier: tuple[Tensor, NoiseLevel] | None = None
    for step, t in enumerate(timesteps_n):
        x0 = denoise(x_bcthw, t, "x0")
        x_bcthw = dpmpp_2m_step(x_bcthw, x0, levels[step], levels[step + 1], earlier)
        earlier = x0, levels[step]
        plan.report(step, x0)
    return x_bcthw


def euler(denoise: Denoise, noise: Noise, plan: Plan) -> Tensor:
    """x_s = x_t + (σ_s − σ_t)·v̂, for flow models.

    Raises:
        UserError: The model's schedule is not a flow.
    """
    if not isinstance(denoise.schedule, FlowSchedule):
        raise UserError(
            "sampler: 'euler' follows the straight lines of a flow model, and this model has a "
            "variance-preserving schedule; use ddim, dpmpp_2m or unipc."
        )
    x_bcthw = noise.draw(plan.shape).to(plan.device)
    timesteps_n, levels = trajectory(denoise.schedule, plan)
    for step, t in enumerate(timesteps_n):
        velocity = denoise(x_bcthw, t, "velocity")
        plan.report(step, x_bcthw - levels[step].sigma * velocity)
        x_bcthw = euler_step(x_bcthw, velocity, levels[step], levels[step + 1])
    return x_bcthw


def unipc(denoise: Denoise, noise: Noise, plan: Plan) -> Tensor:
    """UniPC (Zhao et al., 2023, arXiv 2302.04867) of order 2, as diffusers computes it.

    Raises:
        UserError: The model's schedule is a flow.
    """
    from mcm.sampling.stock import unipc_scheduler

    scheduler = unipc_scheduler(denoise.schedule)
    scheduler.set_timesteps(plan.steps, device=plan.device)
    x_bcthw = noise.draw(plan.shape).to(plan.device)
    for step, t in enumerate(scheduler.timesteps):
        x0 = denoise(x_bcthw, t, "x0")
        x_bcthw = scheduler.step(x0, t, x_bcthw).prev_sample
        plan.report(step, x0)
    return x_bcthw


SAMPLERS: dict[str, Sampler] = {
    "consistency": consistency,
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
    "euler": euler,
}


def find_sampler(name: str) -> Sampler:
    """Return the sampler of a name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in SAMPLERS:
        guess = nearest(name, SAMPLERS)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise UserError(
            f"sampler: {name!r} is unknown; expected one of {', '.join(SAMPLERS)}.{hint}"
        )
    return SAMPLERS[name]


def trailing_timesteps(schedule: Schedule, steps: int) -> Tensor:
    """t_k = round(T − k·T/n) − 1 for k = 0 .. n − 1, falling: it always starts at T − 1.

    Flow schedules have their own shifted and real timesteps, which start at T.
    """
    if isinstance(schedule, FlowSchedule):
        return schedule.spaced_timesteps(steps).flip(0)
    total = schedule.num_timesteps
    falling_n = total - torch.arange(steps, dtype=torch.float64) * total / steps
    return falling_n.round().long() - 1


def trajectory(schedule: Schedule, plan: Plan) -> tuple[Tensor, list[NoiseLevel]]:
    """Return the timesteps of a solver and their n + 1 noise levels, the last clean data."""
    timesteps_n = trailing_timesteps(schedule, plan.steps).to(plan.device)
    levels = [schedule.alpha_sigma(t) for t in timesteps_n]
    one = torch.ones((), device=plan.device)
    return timesteps_n, [*levels, NoiseLevel(one, one - one)]
