from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distillation.toy import ToyBackbone, ToyVideos, texts

from mcm.distillation.batch import DistillBatch
from mcm.distillation.feed import Feed
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.run import make_accelerator
from mcm.distillation.steps import STUDENT, TARGET
from mcm.distillation.trainer import Trainer
from mcm.distillation.variant import Variant
from mcm.settings import Recipe


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[..., Recipe]:
    """Make a recipe from sections; quick settings where a section says nothing."""

    def make(**sections: dict[str, Any]) -> Recipe:
        given: dict[str, dict[str, Any]] = {
            "model": {"teacher": "toy"},
            "data": {"videos": "toy"},
            "motion": {"representation": "learn"},
            "consistency": {"grid_points": 10},
            "critic": {"weight": 0.1, "backbone": "scratch", "width": 8},
            "optimizer": {"lr": 1e-3},
            "trainer": {
                "output": str(tmp_path / "out"),
                "steps": 6,
                "batch_size": 2,
                "mixed_precision": "no",
            },
        }
        for name, values in sections.items():
            given[name] = given.get(name, {}) | values
        return Recipe.model_validate(given)

    return make


@pytest.fixture
def objective_of() -> Callable[[Recipe], MotionConsistency]:
    def make(recipe: Recipe) -> MotionConsistency:
        torch.manual_seed(recipe.trainer.seed)
        backbone = ToyBackbone()
        backbone.add_adapter(STUDENT, 1, 1.0, True)
        if recipe.consistency.ema_decay > 0:
            backbone.add_adapter(TARGET, 1, 1.0, False)
        return MotionConsistency(backbone, texts([1000]), Variant.of(recipe))

    return make


@pytest.fixture
def trainer_of(objective_of: Callable[..., MotionConsistency]) -> Callable[[Recipe], Trainer]:
    def make(recipe: Recipe) -> Trainer:
        videos: Any = ToyVideos()
        feed = Feed.over(recipe, videos)
        identity = {"family": "toy"}
        return Trainer(objective_of(recipe), feed, recipe, make_accelerator(recipe), identity)

    return make


@pytest.fixture
def batch() -> DistillBatch:
    clips = ToyVideos().batch(range(4))
    return DistillBatch(clips.latents_bcthw, clips.condition)
