"""What is learnt, how fast, and what guards it: parameter groups, rates, clipping, the guard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT
from mcm.errors import UserError
from mcm.settings import OptimizerSection, Recipe

MOST_SKIPS = 10


def learning_rate(step: int, section: OptimizerSection, steps: int) -> float:
    """Return the rate of a step from 0: linear warm-up, then constant or half a cosine to 0."""
    if step < section.warmup_steps:
        return section.lr * (step + 1) / section.warmup_steps
    if section.schedule == "constant":
        return section.lr
    progress = (step - section.warmup_steps) / max(steps - section.warmup_steps, 1)
    return section.lr * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@dataclass(frozen=True)
class Learner:
    """One AdamW over student, motion head and critics, each with its own settings.

    Adam moves every parameter by its own moments, so one optimiser of several groups is several
    optimisers. Head and critics have no weight decay and constant rates.
    """

    groups: Mapping[str, list[nn.Parameter]]
    optimizer: torch.optim.Optimizer
    recipe: Recipe

    @classmethod
    def of(cls, objective: MotionConsistency, recipe: Recipe) -> Learner:
        """Collect what the objective trains."""
        critics = objective.critics
        critic = critics.frame.parameters() if critics.frame else []
        clip_critic = critics.clip.parameters() if critics.clip else []
        found = {
            "student": list(objective.backbone.adapter_parameters(STUDENT).values()),
            "head": list(objective.head.parameters()),
            "critic": [parameter for parameter in critic if parameter.requires_grad],
            "clip_critic": list(clip_critic),
        }
        groups = {name: parameters for name, parameters in found.items() if parameters}
        section = recipe.optimizer
        settings: dict[str, dict[str, Any]] = {
            "student": {"betas": section.betas, "weight_decay": section.weight_decay},
            "head": {"betas": section.betas},
            "critic": {"betas": recipe.critic.betas},
            "clip_critic": {"betas": recipe.clip_critic.betas},
        }
        optimizer = torch.optim.AdamW(
            [{"params": p, "name": name, **settings[name]} for name, p in groups.items()],
            weight_decay=0.0,
        )
        return cls(groups, optimizer, recipe)

    def set_rates(self, step: int) -> dict[str, float]:
        """Set the learning rates of a step, counted from 0, and return them."""
        section = self.recipe.optimizer
        student = learning_rate(step, section, self.recipe.trainer.steps)
        rates = {
            "student": student,
            "head": self.recipe.motion.head_lr or student,
            "critic": self.recipe.critic.lr,
            "clip_critic": self.recipe.clip_critic.lr,
        }
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        return {f"lr/{name}": rates[name] for name in self.groups}

    def gradients(self) -> list[Tensor]:
        """Return the gradients of all parameters, the same list on every process.

        One that no sample reached, such as that of an expert of other timesteps, becomes zero.
        """
        parameters = [p for group in self.groups.values() for p in group]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [p.grad for p in parameters if p.grad is not None]

    def clip(self) -> dict[str, Tensor]:
        """Clip each group's gradient to ``grad_clip`` and return the norms before."""
        most = self.recipe.optimizer.grad_clip or math.inf
        return {
            f"grad_norm/{name}": torch.nn.utils.clip_grad_norm_(parameters, most)
            for name, parameters in self.groups.items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's tensors by parameter's number and name."""
        return {
            f"{number}.{name}": value
            for number, moments in self.optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what :meth:`state` returned; rates and decays are the recipe's."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


@dataclass
class NonFiniteGuard:
    """Counts the updates that were left out since a loss or a gradient was not finite.

    Attributes:
        total: How many in the whole run.
        in_a_row: How many since the last good one.
    """

    total: int = 0
    in_a_row: int = 0

    def admit(self, values: Mapping[str, float], step: int) -> bool:
        """Return whether all values are finite, before anything moves.

        Raises:
            UserError: Ten updates in a row had to be left out.
        """
        bad = sorted(name for name, value in values.items() if not math.isfinite(value))
        self.in_a_row = self.in_a_row + 1 if bad else 0
        self.total += bool(bad)
        if self.in_a_row >= MOST_SKIPS:
            raise UserError(
                f"training: {', '.join(bad)} not finite in {MOST_SKIPS} updates in a row, the last "
                f"at step {step + 1}; none of them changed the weights. Lower optimizer.lr or "
                "critic.lr, set trainer.mixed_precision=no, and resume from the last checkpoint"
            )
        return not bad
