"""Checkpoints that are whole or not there: weights, optimiser state, and what they belong to.

``<output>/checkpoints/step-00000500`` holds ``weights.safetensors`` (all that training changes,
by role), ``optimizer.safetensors`` (its moments) and ``checkpoint.json`` (step, counters, and what
it belongs to). Nothing is pickled. No state of a random generator is needed: every draw is a
function of seed, step and rank.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mcm.errors import UserError
from mcm.settings import Recipe

FOLDER = "checkpoints"
LATEST = "latest"
WEIGHTS, OPTIMIZER, CARD = "weights.safetensors", "optimizer.safetensors", "checkpoint.json"
FORMAT = 1
START = {"student.init", "trainer.seed"}
"""Values that decide what a student begins with."""
_NAME = re.compile(r"step-\d{8,}")
_PARTIAL = ".part"
ASIDE = "set-aside-"


@dataclass(frozen=True)
class Card:
    """What a checkpoint belongs to.

    Attributes:
        step: Finished steps.
        backbone: Identity of the teacher.
        structure: The recipe's values that decide which weights there are.
        counters: What else the loop must remember, as plain JSON values.
        format: Version of the layout.
    """

    step: int
    backbone: Mapping[str, Any]
    structure: Mapping[str, Any]
    counters: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read."""

    path: Path
    card: Card
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def structure(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's values that a resumed run may not change, by dotted key.

    Those of the student's start count only where it is made anew, to go back towards it.
    """
    critic, student = recipe.critic, recipe.student
    values: dict[str, Any] = {
        "student.mode": student.mode,
        "motion.representation": recipe.motion.representation,
        "consistency.ema_decay": "0" if recipe.consistency.ema_decay == 0 else "above 0",
        "critic.weight": "0" if critic.weight == 0 else "above 0",
    }
    if recipe.clip_critic.weight > 0:
        clips = recipe.clip_critic
        for name in ("backbone", "representation", "width"):
            values[f"clip_critic.{name}"] = getattr(clips, name)
    values |= {"student.init": student.init, "trainer.seed": recipe.trainer.seed}
    if student.mode == "lora":
        values |= {"student.rank": student.rank, "student.alpha": student.alpha}
    if critic.weight > 0:
        names = ("backbone", "levels", "width", "layout")
        values |= {f"critic.{name}": getattr(critic, name) for name in names}
    return dict(json.loads(json.dumps(values)))


def save(
    folder: Path,
    card: Card,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    keep: int,
) -> Path:
    """Write a checkpoint, give it its name in one move, then remove the oldest.

    Args:
        folder: The checkpoints of a run.
        card: What it belongs to.
        weights: Tensors by name.
        optimizer: The optimiser's tensors by name.
        keep: How many checkpoints stay.

    Raises:
        OSError: The disk is full or the folder cannot be written; what was there stays.
    """
    final = folder / f"step-{card.step:08}"
    partial = folder / f".{final.name}{_PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, tensors in ((WEIGHTS, weights), (OPTIMIZER, optimizer)):
            on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(on_cpu, partial / name)
        (partial / CARD).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
        for file in partial.iterdir():
            _flush(file)
        _flush(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush(folder)
    for old in present(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def present(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in found if _NAME.fullmatch(path.name))


def set_aside(folder: Path, step: int) -> list[Path]:
    """Rename the checkpoints after a step, which a run that goes on from it makes anew.

    They are no longer the run's own, neither the latest nor counted among those that stay.

    Returns:
        Their new paths.
    """
    moved = []
    for path in present(folder):
        if int(path.name.removeprefix("step-")) > step:
            target = folder / f"{ASIDE}{path.name}"
            shutil.rmtree(target, ignore_errors=True)
            moved.append(path.rename(target))
    return moved


def remove_partial(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        shutil.rmtree(partial, ignore_errors=True)


def find(output: Path, resume: str) -> Path:
    """Return the checkpoint that ``latest`` or a path names.

    Raises:
        UserError: There is none.
    """
    if resume == LATEST:
        checkpoints = present(output / FOLDER)
        if not checkpoints:
            raise UserError(
                f"trainer.resume: no checkpoint in {output / FOLDER}; leave resume out to start "
                "afresh, or give the trainer.output of the run to continue"
            )
        return checkpoints[-1]
    if not (Path(resume) / CARD).is_file():
        raise UserError(
            f"trainer.resume: {resume}: no checkpoint there (no {CARD}); expected latest or the "
            "path of a folder such as checkpoints/step-00000500"
        )
    return Path(resume)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: A file is missing or damaged.
    """
    try:
        values = json.loads((path / CARD).read_text(encoding="utf-8"))
        card = Card(**values)
        weights, optimizer = load_file(path / WEIGHTS), load_file(path / OPTIMIZER)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(
            f"trainer.resume: {path}: not a whole checkpoint ({error}); use an earlier one"
        ) from None
    if card.format != FORMAT:
        raise UserError(
            f"trainer.resume: {path}: written by another version of mcm (layout {card.format}, "
            f"expected {FORMAT}); continue it with that version"
        )
    return Checkpoint(path, card, weights, optimizer)


def check_fits(checkpoint: Checkpoint, recipe: Recipe, backbone: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another backbone or of a recipe with other weights.

    Raises:
        UserError: Names everything that differs, with both values.
    """
    theirs, path = checkpoint.card.backbone, checkpoint.path
    differing = [name for name in backbone if backbone[name] != theirs.get(name)]
    if differing:
        raise UserError(
            f"trainer.resume: {path}: a checkpoint of another backbone ({theirs.get('family')}; "
            f"differing: {', '.join(differing)}); set model.teacher to the teacher it was trained "
            "from, or start afresh in another trainer.output"
        )
    ours, before = structure(recipe), checkpoint.card.structure
    ignored = START if recipe.student.interpolate == 1 else set[str]()
    faults = [
        f"{key} is {before.get(key)!r} there and {ours.get(key)!r} in the recipe"
        for key in sorted((ours.keys() | before.keys()) - ignored)
        if ours.get(key) != before.get(key)
    ]
    if faults:
        raise UserError(
            f"trainer.resume: {path}: does not fit the recipe: {'; '.join(faults)}. Use the "
            "recipe it was trained with, or start afresh in another trainer.output"
        )


def _flush(path: Path) -> None:
    """Wait until the system has written a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
