"""The sections of a recipe, one frozen model each; `mcm.recipe` reads and writes them."""

from __future__ import annotations

from pydantic import model_validator

from mcm.fields import Section
from mcm.settings.models import DataSection, ModelSection, StudentSection
from mcm.settings.objective import (
    ClipCriticSection,
    ConsistencySection,
    CriticSection,
    MotionSection,
    TrajectoriesSection,
)
from mcm.settings.training import OptimizerSection, TrainerSection, ValidationSection

__all__ = [
    "ClipCriticSection",
    "ConsistencySection",
    "CriticSection",
    "DataSection",
    "ModelSection",
    "MotionSection",
    "OptimizerSection",
    "Recipe",
    "StudentSection",
    "TrainerSection",
    "TrajectoriesSection",
    "ValidationSection",
]


class Recipe(Section):
    """One distillation, fully described."""

    model: ModelSection
    """The teacher."""
    student: StudentSection = StudentSection()
    """What is trained."""
    data: DataSection
    """What it is trained on."""
    motion: MotionSection = MotionSection()
    """Motion representation and head."""
    consistency: ConsistencySection = ConsistencySection()
    """Consistency function and solver."""
    critic: CriticSection = CriticSection()
    """Appearance critic."""
    clip_critic: ClipCriticSection = ClipCriticSection()
    """Critic of whole clips."""
    trajectories: TrajectoriesSection = TrajectoriesSection()
    """Real and generated latents."""
    optimizer: OptimizerSection = OptimizerSection()
    """Optimiser of the student."""
    trainer: TrainerSection
    """The loop."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.optimizer.warmup_steps > self.trainer.steps:
            raise ValueError("optimizer.warmup_steps: is more than trainer.steps")
        if self.student.init_auxiliary and self.student.init is None:
            raise ValueError(
                "student.init_auxiliary: needs a student to go on from; give student.init"
            )
        if self.consistency.image_weight > 0 and self.data.images is None:
            raise ValueError(
                "consistency.image_weight: needs images; give their cache as data.images"
            )
        return self
