"""The stock scheduler that samples a student in few steps as our `consistency` sampler does.

Models of the variance-preserving kind take `LCMScheduler`. No stock scheduler both puts fresh noise
between steps and takes them on the grid of a flow student, so flow models take Euler steps, which
are ours with stochasticity 0.
"""

from __future__ import annotations

from typing import Any

import torch

from mcm.backbones.components import stock_class
from mcm.backbones.pipeline import PipelineBackbone
from mcm.diffusion import FlowSchedule, VarianceSchedule, few_step_timesteps
from mcm.sampling.catalog import StudentCard

_SHARED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "rescale_betas_zero_snr",
    "steps_offset",
)
_GIVES_GRID = ("LTXPipeline",)
"""Pipelines that hand their own evenly spaced points to the scheduler."""


def few_step_scheduler(backbone: PipelineBackbone, card: StudentCard) -> Any:
    """Return the scheduler for a student of this model.

    Args:
        backbone: Its teacher.
        card: How the student wants to be sampled.
    """
    config = scheduler_config(backbone, card)
    return stock_class(config["_class_name"]).from_config(config)


def scheduler_config(backbone: PipelineBackbone, card: StudentCard) -> dict[str, Any]:
    """Return the scheduler's class and configuration; arguments as `few_step_scheduler`."""
    schedule = backbone.schedule
    if isinstance(schedule, FlowSchedule):
        return _flow(schedule, backbone.pipeline in _GIVES_GRID, card)
    assert isinstance(schedule, VarianceSchedule)
    return {
        "_class_name": "LCMScheduler",
        **_betas(schedule, backbone.scheduler_config),
        "prediction_type": backbone.scheduler_config.get("prediction_type", "epsilon"),
        "original_inference_steps": card.original_steps,
        "timestep_scaling": card.timestep_scaling,
        "clip_sample": False,
        "set_alpha_to_one": True,
    }


def _betas(schedule: VarianceSchedule, config: dict[str, Any]) -> dict[str, Any]:
    """Return β as the configuration says it, or number by number where LCMScheduler cannot."""
    if config.get("snr_shift_scale", 1.0) == 1.0:
        return {key: config[key] for key in _SHARED if key in config}
    bars = schedule.alphas_cumprod.double()
    before = torch.cat([torch.ones(1, dtype=bars.dtype), bars[:-1]])
    return {"num_train_timesteps": len(bars), "trained_betas": (1 - bars / before).tolist()}


def _flow(schedule: FlowSchedule, gives_grid: bool, card: StudentCard) -> dict[str, Any]:
    shared = {"num_train_timesteps": schedule.num_timesteps, "shift": schedule.shift}
    if not gives_grid:
        return {"_class_name": "FlowMapEulerDiscreteScheduler", **shared}
    last = few_step_timesteps(card.steps, card.original_steps, schedule)[-1]
    terminal = None if schedule.terminal is None else float(last) / schedule.num_timesteps
    name = "FlowMatchEulerDiscreteScheduler"
    return {"_class_name": name, **shared, "shift_terminal": terminal}
