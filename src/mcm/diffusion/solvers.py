"""Deterministic solvers of the probability-flow ODE, one step at a time.

References:
    DDIM: Song et al., 2021 (arXiv 2010.02502), equation 12 with η = 0.
    DPM-Solver++(2M): Lu et al., 2022 (arXiv 2211.01095), algorithm 2.
    Guidance: Ho and Salimans, 2022 (arXiv 2207.12598), in the form of LCM (arXiv 2310.04378).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mcm.diffusion.consistency import few_step_timesteps
from mcm.diffusion.levels import NoiseLevel, per_sample
from mcm.diffusion.schedules import Schedule
from mcm.errors import UserError


@dataclass(frozen=True, eq=False)
class SolverGrid:
    """The N timesteps between which the teacher's solver steps.

    Attributes:
        schedule: Where the timesteps live.
        timesteps_n: Ascending, shape (N,).
        previous_n: Where one step from each leads: the grid point before, 0 for the first.
    """

    schedule: Schedule
    timesteps_n: Tensor
    previous_n: Tensor

    @classmethod
    def evenly(cls, schedule: Schedule, steps: int) -> SolverGrid:
        """N evenly spaced points ending at the noisiest timestep, or within a step of it.

        Raises:
            UserError: ``steps`` does not fit on the schedule: rounding would leave out more of its
                noisy end, where sampling starts.
        """
        timesteps_n = schedule.spaced_timesteps(steps)
        total = schedule.num_timesteps
        if timesteps_n[-1] < total - total / steps:
            divisors = [n for n in range(2, total + 1) if total % n == 0]
            near = min(divisors, key=lambda n: abs(n - steps))
            raise UserError(
                f"consistency.grid_points: got {steps}, whose last point would be timestep "
                f"{int(timesteps_n[-1])}; give a divisor of the schedule's {total}, such as {near}"
            )
        previous_n = torch.cat([torch.zeros_like(timesteps_n[:1]), timesteps_n[:-1]])
        return cls(schedule, timesteps_n, previous_n)

    def __len__(self) -> int:
        """N."""
        return len(self.timesteps_n)

    def pair(self, index_b: Tensor) -> tuple[Tensor, Tensor]:
        """Return (start, previous) timesteps, each (b,), of grid indices 0 .. N − 1."""
        device = index_b.device
        return self.timesteps_n.to(device)[index_b], self.previous_n.to(device)[index_b]

    def segment_ends(self, segments: int) -> Tensor:
        """Return the grid index at which the segment of each point ends, (N,); −1 is clean data.

        Segments lie between the timesteps of sampling in as many steps
        (:func:`mcm.diffusion.few_step_timesteps`).
        """
        visited = few_step_timesteps(segments, len(self), self.schedule)
        starts_k = torch.searchsorted(self.timesteps_n, visited.flip(0).contiguous())
        ends_k = torch.cat([torch.tensor([-1]), starts_k])
        return ends_k[torch.searchsorted(starts_k, torch.arange(len(self)))]

    def add_noise(self, x0: Tensor, noise: Tensor, index_b: Tensor) -> Tensor:
        """x_t at the grid points ``index_b``, with pure noise (zero SNR) at the last."""
        start_b, _ = self.pair(index_b)
        last_b = index_b == len(self) - 1
        return torch.where(
            per_sample(last_b, x0), noise, self.schedule.add_noise(x0, noise, start_b)
        )


def guide(cond: Tensor, uncond: Tensor, w_b: Tensor) -> Tensor:
    """ŷ = ŷ_c + w·(ŷ_c − ŷ_u), for any prediction ŷ of shape (b, ...).

    w = 0 is no guidance; diffusers' ``guidance_scale`` is w + 1. Converting predictions
    and guiding them commute, since the two weights sum to one.
    """
    return cond + per_sample(w_b, cond) * (cond - uncond)


def ddim_step(x0: Tensor, epsilon: Tensor, previous: NoiseLevel) -> Tensor:
    """x_s = α_s·x̂0 + σ_s·ε̂, from any noise level to the level ``previous``."""
    return previous.mix(x0, epsilon)


def euler_step(x_t: Tensor, velocity: Tensor, now: NoiseLevel, previous: NoiseLevel) -> Tensor:
    """x_s = x_t + (σ_s − σ_t)·v with v = ε − x0, along straight flow lines (α + σ = 1)."""
    return x_t + per_sample(previous.sigma - now.sigma, x_t) * velocity


def dpmpp_2m_step(
    x_t: Tensor,
    x0: Tensor,
    now: NoiseLevel,
    previous: NoiseLevel,
    earlier: tuple[Tensor, NoiseLevel] | None = None,
) -> Tensor:
    """One step of DPM-Solver++(2M) from the level ``now`` to ``previous``.

    With h = λ_s − λ_t, h₀ = λ_t − λ_r and λ = log(α/σ)::

        D   = x̂0_t + ½·(h / h₀)·(x̂0_t − x̂0_r)
        x_s = (σ_s / σ_t)·x_t + α_s·(1 − e^{−h})·D

    The second term of D is dropped in the first step and where h or h₀ is infinite (pure
    noise, clean data), which is one DDIM step.

    Args:
        x_t: Noisy sample, shape (b, ...).
        x0: Its x̂0.
        now: Level of ``x_t``.
        previous: Level to step to, less noisy.
        earlier: x̂0 of the step before and the level r it was made at.
    """
    h = previous.half_log_snr() - now.half_log_snr()
    slope = x0
    if earlier is not None:
        x0_earlier, level = earlier
        ratio = h / (now.half_log_snr() - level.half_log_snr())
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.zeros_like(ratio))
        slope = x0 + per_sample(ratio / 2, x0) * (x0 - x0_earlier)
    keep = per_sample(previous.sigma / now.sigma, x_t)
    return keep * x_t - per_sample(previous.alpha * torch.expm1(-h), x_t) * slope
