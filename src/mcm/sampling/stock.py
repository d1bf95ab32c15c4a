"""Stock diffusers schedulers over our schedules."""

from __future__ import annotations

from typing import Any

import torch

from mcm.diffusion import Schedule, VarianceSchedule
from mcm.errors import UserError

_LEAST_ALPHA_CUMPROD = 2.0**-24


def unipc_scheduler(schedule: Schedule) -> Any:
    """Return a ``UniPCMultistepScheduler`` that takes x0 predictions on trailing timesteps.

    It works in log SNR, so zero terminal SNR is lifted to ᾱ = 2⁻²⁴, as diffusers does.

    Raises:
        UserError: The schedule is a flow.
    """
    from diffusers import UniPCMultistepScheduler

    if not isinstance(schedule, VarianceSchedule):
        raise UserError("sampler: 'unipc' needs a variance-preserving model; use euler for flow.")
    bars = schedule.alphas_cumprod.double().clamp_min(_LEAST_ALPHA_CUMPROD)
    betas = 1 - bars / torch.cat([torch.ones(1, dtype=bars.dtype), bars[:-1]])
    return UniPCMultistepScheduler(
        num_train_timesteps=schedule.num_timesteps,
        trained_betas=betas.tolist(),
        prediction_type="sample",
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )
