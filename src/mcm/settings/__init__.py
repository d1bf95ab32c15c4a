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
        self._check_weights()
        self._check_generated()
        return self

    def _check_weights(self) -> None:
        """Refuse losses that move nothing."""
        critics = (("critic", self.critic), ("clip_critic", self.clip_critic))
        for name, section in critics if self.motion.weight == 0 else ():
            if section.weight > 0 and section.most_pull is not None:
                raise ValueError(
                    f"{name}.most_pull: is in multiples of the motion loss's pull, but "
                    "motion.weight is 0; set it to null, or give motion.weight"
                )
        weights = (self.motion.weight, self.consistency.image_weight)
        if not any((*weights, self.critic.weight, self.clip_critic.weight)):
            raise ValueError(
                "motion.weight: leaves nothing to learn, as all losses have weight 0; give one"
            )

    def _check_generated(self) -> None:
        """Refuse self-generated latents that the student cannot make."""
        if self.trajectories.real_fraction == 1:
            return
        points, segments = self.consistency.grid_points, self.consistency.segments
        for steps in self.trajectories.self_generation_steps:
            if steps > points:
                raise ValueError(
                    f"trajectories.self_generation_steps: has {steps}, more than "
                    f"consistency.grid_points ({points})"
                )
            if steps % segments:
                raise ValueError(
                    f"trajectories.self_generation_steps: has {steps}, no multiple of "
                    f"consistency.segments; such a student is for {segments} steps"
                )
