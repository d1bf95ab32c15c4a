"""What teacher, student and target begin with: the adapters of a run."""

from __future__ import annotations

from pathlib import Path

from mcm.backbones.adapters import add_sum, load_adapter
from mcm.backbones.json_files import read_notes
from mcm.backbones.lora_files import adapter_rank
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.variants import LoraVariants
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT, TARGET, WORN
from mcm.distillation.student import read_auxiliary
from mcm.errors import UserError
from mcm.sampling.catalog import adapter_hash, find_folder, find_student
from mcm.settings import Recipe


def add_variants(backbone: PipelineBackbone, recipe: Recipe, values: bool = True) -> None:
    """Dress a teacher, add student and target, and checkpoint gradients where that is asked.

    Args:
        backbone: The teacher.
        recipe: Says what it wears, and what the student begins with.
        values: Read the adapters' files; without, adapters of the same ranks begin as nothing.

    Raises:
        UserError: The teacher's adapter or the student to start from cannot be loaded.
    """
    rank, alpha = recipe.student.rank, recipe.student.alpha
    if recipe.trainer.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()  # before copies are made, which inherit it
    if recipe.model.adapter is not None:
        _wear(backbone, recipe, recipe.model.adapter, values)
    places = _begins(recipe)
    if not places or not values:
        backbone.add_adapter(STUDENT, rank, alpha, trainable=True)
    elif len(places) == 1:
        load_adapter(backbone, places[0], STUDENT, trainable=True)
    else:
        add_sum(backbone, places, STUDENT, rank, alpha)
    if recipe.consistency.ema_decay > 0:
        backbone.add_adapter(TARGET, rank, alpha, trainable=False)


def begin_auxiliary(objective: MotionConsistency, recipe: Recipe) -> None:
    """Let head and critics go on from those of the first student to start from, where asked.

    Raises:
        UserError: A file is missing, broken or of another configuration.
    """
    if recipe.student.init_auxiliary and (names := _inits(recipe)):
        read_auxiliary(objective, find_folder(names[0]))


def worn_hash(recipe: Recipe) -> str | None:
    """Return SHA-256 of what the teacher wears, or ``None``.

    Raises:
        UserError: There is no such adapter.
    """
    name = recipe.model.adapter
    return None if name is None else adapter_hash(_place(name))


def _wear(backbone: PipelineBackbone, recipe: Recipe, name: str, values: bool) -> None:
    _check_lora(recipe, "model.adapter")
    assert isinstance(backbone.variants, LoraVariants)
    place = _place(name)
    if values:
        load_adapter(backbone, place, WORN)
    else:
        rank = adapter_rank(place)
        backbone.add_adapter(WORN, rank, float(rank), trainable=False)
    backbone.variants.wear(WORN)


def _place(adapter: str) -> Path:
    """Return the file that an adapter is, or its folder."""
    return Path(adapter) if Path(adapter).is_file() else find_folder(adapter, "model.adapter")


def _inits(recipe: Recipe) -> list[str]:
    """Return the names of what the student begins with."""
    begin = recipe.student.init
    return [] if begin is None else [begin] if isinstance(begin, str) else list(begin)


def _check_lora(recipe: Recipe, field: str) -> None:
    if recipe.student.mode != "lora":
        raise UserError(
            f"{field}: got adapters, but student.mode is {recipe.student.mode}; set "
            "student.mode=lora, or give a teacher with the adapters merged (`mcm export`)"
        )


def _begins(recipe: Recipe) -> list[Path]:
    """Return the folders of what the student begins with.

    Raises:
        UserError: One is not there or no adapter, or the only one has another rank or α.
    """
    names = _inits(recipe)
    if len(names) > 1:
        _check_lora(recipe, "student.init")
        return [find_folder(name, "student.init") for name in names]
    return [_continued(name, recipe) for name in names]


def _continued(name: str, recipe: Recipe) -> Path:
    student, section = find_student(name, "student.init"), recipe.student
    if student is None or student.mode != section.mode:
        found = "a teacher" if student is None else f"of mode {student.mode}"
        raise UserError(
            f"student.init: {name} is {found}; expected a student of mode {section.mode}"
        )
    notes = read_notes(student.folder)
    for key, ours in (("rank", section.rank), ("alpha", section.alpha)):
        if section.mode == "lora" and notes.get(key, ours) != ours:
            raise UserError(
                f"student.{key}: got {ours}, but the student to start from ({name}) has "
                f"{notes[key]}; set student.{key}={notes[key]}"
            )
    return student.folder


def check_family(recipe: Recipe, backbone: PipelineBackbone) -> None:
    """Compare the family that a recipe expects with the teacher's.

    Raises:
        UserError: They differ.
    """
    wanted, found = recipe.model.family, backbone.spec.family
    if wanted not in ("auto", found):
        raise UserError(
            f"model.family: got {wanted}, but {recipe.model.teacher} is of family {found}; set "
            "model.family=auto or give another teacher"
        )
