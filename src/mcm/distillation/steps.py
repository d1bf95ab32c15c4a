"""What is done with a noisy latent: the student's jump, its sampler, the teacher's guided step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import (
    Prediction,
    Schedule,
    consistency_function,
    convert,
    ddim_step,
    guide,
    per_sample,
)
from mcm.sampling.denoiser import Denoise
from mcm.sampling.samplers import Plan
from mcm.settings import ConsistencySection

STUDENT = "student"
TARGET = "target"
"""Adapters of f_θ and of its average f_θ⁻."""
WORN = "worn"
"""Adapter of the teacher itself."""


def jump(
    backbone: Backbone, x_bcthw: Tensor, t_b: Tensor, condition: Condition, scaling: float
) -> Tensor:
    """f(x_t, t) = c_skip(t)·x_t + c_out(t)·x̂0(x_t, t), with the active adapter, in float32.

    Args:
        backbone: The network; make an adapter active around the call.
        x_bcthw: Noisy latents.
        t_b: Timesteps.
        condition: Text states, one per sample.
        scaling: k of the boundary scalings.
    """
    x0 = backbone.predict(x_bcthw, t_b, condition, "x0").float()
    return consistency_function(backbone.schedule, x_bcthw, x0, t_b, scaling)


def student_plan(
    section: ConsistencySection,
    shape: tuple[int, int, int, int],
    steps: int,
    device: torch.device | str,
) -> Plan:
    """Return the plan of sampling a student as its training says.

    Args:
        section: Its training's consistency.
        shape: Latents of one sample, (c, t, h, w).
        steps: Network steps.
        device: Where to sample.
    """
    return Plan(
        shape,
        steps,
        section.grid_points,
        section.timestep_scaling,
        device,
        stochasticity=section.stochasticity,
    )


@dataclass
class LastStep:
    """A sampler's denoiser of which only the last call may have a gradient.

    So a sample of several steps costs the memory of one (Yin et al., DMD2, 2024, arXiv
    2405.14867; Huang et al., Self-Forcing, 2025, arXiv 2506.08009).

    Attributes:
        denoise: The denoiser.
        left: Calls that are left.
        learns: Whether the last one has a gradient.
    """

    denoise: Denoise
    left: int
    learns: bool

    @property
    def schedule(self) -> Schedule:
        """Schedule of the network."""
        return self.denoise.schedule

    def __call__(self, x_bcthw: Tensor, t: Tensor, want: Prediction) -> Tensor:
        """Predict as the denoiser does."""
        self.left -= 1
        with torch.set_grad_enabled(self.learns and self.left == 0):
            return self.denoise(x_bcthw, t, want)


@torch.no_grad()
def teacher_step(
    backbone: Backbone,
    x_bcthw: Tensor,
    t_b: Tensor,
    previous_b: Tensor,
    conditions: tuple[Condition, Condition],
    w_b: Tensor,
) -> Tensor:
    """x̂_s = α_s·x̂0 + σ_s·ε̂ with x̂0, ε̂ guided by w, from t to s, by the base weights.

    The two halves of guidance are one batch. Where the previous grid point is the start of
    time, the schedule's own level there is used, as everywhere.

    Args:
        backbone: The network.
        x_bcthw: Noisy latents at ``t_b``.
        t_b: Timesteps.
        previous_b: Timesteps to step to.
        conditions: Text states of the prompts, and of the empty prompt (one, or one each).
        w_b: Guidance of the paper, diffusers' scale less one; of a model of two experts, that of
            the one for the noisier timesteps.
    """
    prompt, empty = conditions
    both = Condition.cat([prompt, empty.expand(len(prompt)) if len(empty) == 1 else empty])
    own = backbone.spec.prediction
    with backbone.using(None):
        prediction = backbone.predict(
            torch.cat([x_bcthw, x_bcthw]), torch.cat([t_b, t_b]), both, own
        )
    cond, uncond = prediction.float().chunk(2)
    guided = guide(cond, uncond, backbone.spec.weight_at(w_b, t_b))
    level = backbone.schedule.alpha_sigma(t_b)
    x0 = convert(guided, x_bcthw, *level, have=own, want="x0")
    epsilon = convert(guided, x_bcthw, *level, have=own, want="epsilon")
    return ddim_step(x0, epsilon, backbone.schedule.alpha_sigma(previous_b))


def select(mask_b: Tensor, chosen: Tensor, otherwise: Tensor) -> Tensor:
    """Return per sample ``chosen`` where the mask holds and ``otherwise`` elsewhere."""
    return torch.where(per_sample(mask_b, chosen), chosen, otherwise)
