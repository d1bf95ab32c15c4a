"""Which objective a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcm.appearance import Critic, CriticConfig
from mcm.motion import ClipCritic
from mcm.settings import (
    ClipCriticSection,
    ConsistencySection,
    CriticSection,
    MotionSection,
    Recipe,
    TrajectoriesSection,
)


@dataclass(frozen=True)
class Variant:
    """Which objective: the sections of a recipe that decide it."""

    motion: MotionSection = field(default_factory=MotionSection)
    consistency: ConsistencySection = field(default_factory=ConsistencySection)
    critic: CriticSection = field(default_factory=CriticSection)
    clip_critic: ClipCriticSection = field(default_factory=ClipCriticSection)
    trajectories: TrajectoriesSection = field(default_factory=TrajectoriesSection)
    drop_caption: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> Variant:
        """Take the sections from a recipe."""
        return cls(
            recipe.motion,
            recipe.consistency,
            recipe.critic,
            recipe.clip_critic,
            recipe.trajectories,
            recipe.data.drop_caption,
        )


def make_critic(section: CriticSection, text_dim: int) -> Critic | None:
    """Build the critic of a recipe, or none where its weight is 0."""
    if section.weight == 0:
        return None
    shared = set(CriticConfig.__dataclass_fields__) & set(CriticSection.model_fields)
    values = {name: getattr(section, name) for name in shared}
    return Critic(CriticConfig(text_dim=text_dim, **values))


def make_clip_critic(section: ClipCriticSection, channels: int, text_dim: int) -> ClipCritic | None:
    """Build the clip critic of a recipe, or none where its weight is 0.

    A teacher's features are coarse and rich already, so that one stage is enough for them.
    """
    if section.weight == 0:
        return None
    stages = 1 if section.backbone == "teacher" else 3
    return ClipCritic(section.representation, channels, text_dim, section.width, stages)
