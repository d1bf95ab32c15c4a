"""Consistency functions, the losses between their outputs, and few-step timesteps.

References:
    Song et al., Consistency Models, 2023 (arXiv 2303.01469), appendix C; Luo et al., LCM,
    2023 (arXiv 2310.04378); pseudo-Huber: Song and Dhariwal, 2023 (arXiv 2310.14189).
"""

from __future__ import annotations

from torch import Tensor

from mcm.diffusion.levels import per_sample
from mcm.diffusion.schedules import FlowSchedule, Schedule
from mcm.errors import UserError

SIGMA_DATA = 0.5


def boundary_scalings(t_b: Tensor, timestep_scaling: float = 4.0) -> tuple[Tensor, Tensor]:
    """c_skip = σ_d² / (s² + σ_d²), c_out = s / √(s² + σ_d²) with s = k·t and σ_d = 0.5.

    At t = 0 they are 1 and 0, so that f(x, 0) = x.

    Args:
        t_b: Timesteps, any shape.
        timestep_scaling: k.
    """
    s_b = timestep_scaling * t_b
    total_b = s_b**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / total_b, s_b / total_b**0.5


def consistency_function(
    schedule: Schedule, x_t: Tensor, x0: Tensor, t_b: Tensor, timestep_scaling: float = 4.0
) -> Tensor:
    """f(x_t, t) = c_skip(t)·x_t + c_out(t)·x̂0; for flow f(x_t, t) = x_t − t·v̂ = x̂0.

    Flow needs no scalings: x_t − t·v̂ is x_t itself at t = 0.

    Args:
        schedule: Decides between the two forms.
        x_t: Noisy sample, shape (b, ...).
        x0: The network's x̂0 of it.
        t_b: Timesteps, shape (b,) or ().
        timestep_scaling: k of :func:`boundary_scalings`; flow ignores it.
    """
    if isinstance(schedule, FlowSchedule):
        return x0
    c_skip, c_out = boundary_scalings(t_b, timestep_scaling)
    return per_sample(c_skip, x_t) * x_t + per_sample(c_out, x_t) * x0


def pseudo_huber(a: Tensor, b: Tensor, delta: float = 1e-3) -> Tensor:
    """mean(√((a − b)² + δ²) − δ), in float32."""
    return (((a.float() - b.float()) ** 2 + delta**2).sqrt() - delta).mean()


def l2(a: Tensor, b: Tensor) -> Tensor:
    """mean((a − b)²), in float32."""
    return ((a.float() - b.float()) ** 2).mean()


def few_step_timesteps(
    num_steps: int, original_steps: int, schedule: Schedule, strength: float = 1.0
) -> Tensor:
    """Timesteps of few-step sampling: evenly chosen among those the student was trained on.

    Of the N training timesteps in falling order, numbers ⌊k·N/n⌋ for k = 0 .. n − 1; for 4
    steps of 50 on 1000 timesteps [999, 759, 499, 259]. The grid of diffusers' LCMScheduler.

    Args:
        num_steps: n, steps of sampling.
        original_steps: N, points of the solver grid in training.
        schedule: The backbone's schedule.
        strength: Share of the N timesteps to choose from, the least noisy ones; editing starts
            there.

    Returns:
        Falling timesteps, shape (n,), the first the noisiest.

    Raises:
        UserError: ``num_steps`` is not within 1 .. ``strength`` · ``original_steps``.
    """
    usable = int(original_steps * strength + 1e-9)
    check_num_steps(num_steps, usable)
    falling_n = schedule.spaced_timesteps(original_steps).flip(0)[original_steps - usable :]
    return falling_n[[int(k * usable / num_steps) for k in range(num_steps)]]


def check_num_steps(num_steps: int, usable: int) -> None:
    """Make sure that there are as many training timesteps as sampling steps.

    Raises:
        UserError: ``num_steps`` is not within 1 .. ``usable``.
    """
    if not 1 <= num_steps <= usable:
        raise UserError(
            f"steps: {num_steps} sampling steps cannot be chosen among {usable} training "
            f"timesteps; expected a number within 1 .. {usable}."
        )
