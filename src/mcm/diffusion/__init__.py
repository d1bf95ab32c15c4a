"""The mathematics of diffusion and flow: schedules, predictions, solvers, consistency."""

from mcm.diffusion.consistency import (
    boundary_scalings,
    consistency_function,
    few_step_timesteps,
    l2,
    pseudo_huber,
)
from mcm.diffusion.levels import NoiseLevel, per_sample
from mcm.diffusion.predictions import Prediction, convert
from mcm.diffusion.schedules import BetaKind, FlowSchedule, Schedule, VarianceSchedule
from mcm.diffusion.solvers import SolverGrid, ddim_step, dpmpp_2m_step, euler_step, guide

__all__ = [
    "BetaKind",
    "FlowSchedule",
    "NoiseLevel",
    "Prediction",
    "Schedule",
    "SolverGrid",
    "VarianceSchedule",
    "boundary_scalings",
    "consistency_function",
    "convert",
    "ddim_step",
    "dpmpp_2m_step",
    "euler_step",
    "few_step_timesteps",
    "guide",
    "l2",
    "per_sample",
    "pseudo_huber",
]
