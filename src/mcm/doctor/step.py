"""One optimiser step as the trainer makes it, with or without values."""

from __future__ import annotations

import torch

from mcm.devices import pick_dtype
from mcm.distillation.batch import DistillBatch
from mcm.distillation.learner import Learner
from mcm.distillation.objective import MotionConsistency
from mcm.settings import Recipe


def update(
    objective: MotionConsistency,
    learner: Learner,
    batch: DistillBatch,
    recipe: Recipe,
    generator: torch.Generator,
) -> None:
    """Student, teacher, target, self-generated latents, critics, optimiser and averages.

    Args:
        objective: What is trained.
        learner: Its optimiser.
        batch: Given to every forward pass.
        recipe: Says how many passes a step has, and in which number format.
        generator: Source of all draws.
    """
    passes = recipe.trainer.gradient_accumulation
    for _ in range(min(passes, 2)):  # from the second pass on gradients are there already
        with _autocast(recipe, batch.latents_bcthw.device):
            losses = objective.step(batch, generator)
        (losses.total / passes).backward()
        if losses.judged is not None:
            critic = objective.critic_step(losses.judged, generator)
            (critic["loss"] / passes).backward()
    learner.clip()
    learner.optimizer.step()
    objective.update_target()
    learner.optimizer.zero_grad(set_to_none=True)


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    wish = recipe.trainer.mixed_precision
    formats = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
    dtype = pick_dtype("auto", device) if wish == "auto" else formats[wish]
    half = dtype if dtype != torch.float32 else torch.bfloat16
    return torch.autocast(device.type, half, dtype != torch.float32, cache_enabled=False)
