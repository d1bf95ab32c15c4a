"""A student's files: weights and card, and beside them the head and critic of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from mcm.backbones.adapters import save_adapter
from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.pipeline import PipelineBackbone
from mcm.distillation.objective import STUDENT, MotionConsistency
from mcm.recipe import FILE_NAME, dump
from mcm.sampling.catalog import StudentCard, embedded_models
from mcm.settings import Recipe


def write_student(objective: MotionConsistency, recipe: Recipe, folder: Path, step: int) -> Path:
    """Write the student's weights and the card that sampling reads."""
    backbone = objective.backbone
    assert isinstance(backbone, PipelineBackbone)
    teacher = recipe.model.teacher
    base = teacher if teacher in embedded_models() else str(Path(teacher).resolve())
    consistency = recipe.consistency
    card = StudentCard(base, consistency.grid_points, consistency.timestep_scaling)
    notes = {"training_steps": step, "base_fingerprint": fingerprint(backbone.variants.base)}
    save_adapter(backbone, STUDENT, folder, asdict(card) | notes)
    (folder / FILE_NAME).write_text(dump(recipe), encoding="utf-8")
    return folder


def write_auxiliary(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write head and critic, which no sampling needs, as files of their own."""
    for role in ("head", "critic"):
        prefix = f"{role}."
        mine = {
            name.removeprefix(prefix): value.cpu().contiguous()
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        if mine:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(mine, folder / f"{role}.safetensors")
