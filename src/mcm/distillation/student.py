"""A student's files: weights and card, and beside them the head and critics of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mcm.backbones.adapters import save_adapter
from mcm.backbones.components import unreadable_weights
from mcm.backbones.pipeline import PipelineBackbone
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT
from mcm.distillation.target import copies, copy_values
from mcm.errors import UserError
from mcm.recipe import FILE_NAME, dump
from mcm.sampling.catalog import STUDENT_STEPS, StudentCard, base_name
from mcm.settings import Recipe

AUXILIARY = "auxiliary"
ROLES = ("head", "critic", "clip_critic")


def write_student(objective: MotionConsistency, recipe: Recipe, folder: Path, step: int) -> Path:
    """Write the student's weights, an adapter in half precision, and the card of sampling."""
    backbone = objective.backbone
    assert isinstance(backbone, PipelineBackbone)
    consistency = recipe.consistency
    card = StudentCard(
        base_name(backbone.source),
        consistency.grid_points,
        consistency.timestep_scaling,
        consistency.segments if consistency.segments > 1 else STUDENT_STEPS,
        consistency.stochasticity,
    )
    said = {key: value for key, value in asdict(card).items() if value is not None}
    notes = said | {"training_steps": step}
    save_adapter(backbone, STUDENT, folder, notes, torch.float16)
    (folder / FILE_NAME).write_text(dump(recipe), encoding="utf-8")
    return folder


@contextmanager
def interpolated(
    parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], part: float
) -> Iterator[None]:
    """Move parameters inside to start + part·(where they are − start), and back after.

    Args:
        parameters: By name; changed in place.
        start: Where they began, by the same names; not needed if ``part`` is 1.
        part: From 0, the start, to 1, where they are.
    """
    if part == 1:
        yield
        return
    kept = copies(parameters)
    copy_values(parameters, {name: torch.lerp(start[name], kept[name], part) for name in kept})
    try:
        yield
    finally:
        copy_values(parameters, kept)


def read_auxiliary(objective: MotionConsistency, folder: Path) -> None:
    """Load head and critics of an earlier run into the objective, in place.

    Args:
        objective: Has a head or a critic of the same shapes.
        folder: The earlier student, which has them inside (an export) or beside it (a run).

    Raises:
        UserError: A file is missing, broken or of another configuration.
    """
    ours = objective.weights()
    for role in ROLES:
        mine = {key: value for key, value in ours.items() if key.startswith(f"{role}.")}
        if not mine:
            continue
        theirs = _read_role(folder, role)
        differing = sorted(
            key for key in mine.keys() | theirs.keys() if _shape(mine, key) != _shape(theirs, key)
        )
        if differing:
            raise UserError(
                f"student.init_auxiliary: the {role} of {folder} is of another configuration: "
                f"{differing[0]}; set motion and critic as in its recipe.yaml, or init_auxiliary "
                "to false"
            )
        copy_values(mine, theirs)
        if role == "head":
            target = {key.replace("head.", "head_target.", 1): key for key in mine}
            copy_values(
                {key: ours[key] for key in target}, {k: theirs[v] for k, v in target.items()}
            )


def _read_role(folder: Path, role: str) -> dict[str, Tensor]:
    places = [root / AUXILIARY / f"{role}.safetensors" for root in (folder, folder.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"student.init_auxiliary: there is no {places[0]}; set it to false to start {role} "
            "afresh"
        )
    try:
        return {f"{role}.{name}": value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise UserError(unreadable_weights(path, error)) from None


def _shape(weights: Mapping[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None


def write_auxiliary(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write head and critics, which no sampling needs, as files of their own."""
    for role in ROLES:
        prefix = f"{role}."
        mine = {
            name.removeprefix(prefix): value.cpu().contiguous()
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        if mine:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(mine, folder / f"{role}.safetensors")
