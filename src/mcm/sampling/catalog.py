"""From the name or folder of a model to the files that make it.

A student is a folder with ``mcm.json`` and an adapter (or, after full fine-tuning, a network of
its own) for the teacher that ``mcm.json`` names. A folder in the layout of diffusers
(``model_index.json``) is a teacher, or a merged student if its ``mcm.json`` says how to sample it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcm.backbones.hub import beside_or_hub, locate, name_of
from mcm.backbones.json_files import NOTES_FILE, is_number, is_whole, read_notes
from mcm.backbones.lora_files import LORA_FILE, PEFT_CARD, PICKLED, find_file
from mcm.backbones.native import SAMPLING
from mcm.errors import UserError, nearest
from mcm.sampling.options import MOST_STEPS
from mcm.sampling.published import (
    ORIGINAL_STEPS,
    PUBLISHED,
    TIMESTEP_SCALING,
    fetch_adapter,
)

PIPELINE_FILE = "model_index.json"
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
STUDENT_STEPS = 4
STUDENT_FOLDER = "student"
"""Folder of the student in the output of every distillation."""
_CARD = '{"base": TEACHER, "original_steps": 50, "timestep_scaling": 4.0}'
"""What messages show of a student's notes."""


@dataclass(frozen=True)
class StudentCard:
    """What sampling must know of a student, as its ``mcm.json`` says.

    Attributes:
        base: Name of the embedded teacher, its folder (absolute, or relative to the student's or
            the working folder), or OWNER/NAME@REVISION of a hub.
        original_steps: Solver grid points of its training.
        timestep_scaling: k of its c_skip and c_out.
        steps: Steps to take when the user does not say.
        stochasticity: γ of its sampler when the user does not say.
        motion_adapter: Folder or hub name of the motion modules, where the base lacks them.
    """

    base: str
    original_steps: int
    timestep_scaling: float
    steps: int = STUDENT_STEPS
    stochasticity: float = 1.0
    motion_adapter: str | None = None


@dataclass(frozen=True)
class Student:
    """A student's files.

    Attributes:
        folder: Holds its weights.
        card: How to sample it.
        mode: `lora`, `full` if it has a network of its own, or `merged` if it is a whole pipeline.
    """

    folder: Path
    card: StudentCard
    mode: str = "lora"


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's parts are.

    Attributes:
        name: What the user called it.
        teacher: Folder in the layout of diffusers; of a merged student its own.
        student: What changes the teacher's weights; ``None`` for the teacher itself.
        motion_adapter: Folder of the motion modules, where the teacher lacks them.
    """

    name: str
    teacher: Path
    student: Student | None = None
    motion_adapter: Path | None = None


def embedded_models() -> list[str]:
    """Return the names of the models in the package, teachers and students."""
    marks = (NOTES_FILE, PIPELINE_FILE)
    folders = WEIGHTS.iterdir() if WEIGHTS.is_dir() else []
    return sorted(path.name for path in folders if any((path / mark).is_file() for mark in marks))


def find_model(name_or_folder: str | Path) -> ModelFiles:
    """Find a student or teacher with all that it needs.

    Args:
        name_or_folder: As for `find_folder`.

    Raises:
        UserError: There is no such model, or its folder lacks something.
    """
    name, folder = str(name_or_folder), find_folder(name_or_folder)
    student = _student_in(folder)
    if student is None:
        return ModelFiles(name, folder)
    if student.mode == "merged":
        return ModelFiles(name, folder, student)
    motion = student.card.motion_adapter
    place = None if motion is None else beside_or_hub(motion, folder)
    return ModelFiles(name, _teacher_folder(student), student, place)


def find_student(name_or_folder: str | Path, field: str = "model") -> Student | None:
    """Find a student without its teacher; ``None`` for a teacher. As `find_folder` otherwise."""
    return _student_in(find_folder(name_or_folder, field))


def find_folder(name_or_folder: str | Path, field: str = "model") -> Path:
    """Find the folder of a student or teacher.

    Args:
        name_or_folder: Name of an embedded model, a folder, a published adapter's name, or
            OWNER/NAME or OWNER/NAME@REVISION of a hub; the first of these that there is. Write
            ``./name`` for a folder with the name of an embedded model.
        field: What said it, for messages.

    Raises:
        UserError: There is no such model, it is a file, or the hub cannot be reached.
    """
    if not isinstance(name_or_folder, str | Path):
        raise UserError(f"{field}: got {name_or_folder!r:.60}, expected a name or a folder")
    name = str(name_or_folder)
    if name in embedded_models():
        return WEIGHTS / name
    if name in PUBLISHED and not Path(name).is_dir():
        return fetch_adapter(name)
    if Path(name).is_file():
        raise UserError(f"{field}: {_no_folder(Path(name))}")
    folder = locate(name_or_folder)
    if folder is None:
        raise UserError(f"{field}: {_unknown(name)}")
    return folder


def _student_in(folder: Path) -> Student | None:
    """Return the student of a folder, or ``None`` if it holds a teacher.

    Raises:
        UserError: It holds neither, or nothing says the student's teacher.
    """
    if (folder / PIPELINE_FILE).is_file():
        sampling = read_notes(folder).get(SAMPLING)
        if sampling is None:
            return None
        if not isinstance(sampling, dict):
            raise UserError(
                f"{folder / NOTES_FILE}: {SAMPLING}: got {sampling!r:.60}, expected an object"
            )
        return _student(folder, sampling, f"{SAMPLING}.")
    if (folder / NOTES_FILE).is_file():
        return _student(folder, read_notes(folder))
    if not (folder / PEFT_CARD).is_file():
        raise UserError(
            f"{folder}: holds no model; expected {NOTES_FILE} (a student) or {PIPELINE_FILE} "
            "(a teacher in the layout of diffusers)"
        )
    if folder.name not in PUBLISHED:
        raise UserError(
            f"{folder}: a PEFT adapter, and nothing says its teacher; write {NOTES_FILE} into the "
            f"folder: {_CARD} (published ones are known by their names: {', '.join(PUBLISHED)})"
        )
    base = PUBLISHED[folder.name]
    card = StudentCard(
        base.model, ORIGINAL_STEPS, TIMESTEP_SCALING, motion_adapter=base.motion_adapter
    )
    return Student(folder, card)


def base_name(teacher: Path) -> str:
    """Return what a student calls its teacher: by a name of the package or of a hub, or a path."""
    place = teacher.resolve()
    return place.name if place.parent == WEIGHTS.resolve() else name_of(teacher) or str(place)


def adapter_hash(place: Path) -> str:
    """Return SHA-256 of an adapter's file, or of all weights in its folder, file after file."""
    digest = hashlib.sha256()
    for file in [place] if place.is_file() else sorted(place.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _student(folder: Path, notes: Mapping[str, Any], within: str = "") -> Student:
    """Return the student that notes describe.

    Args:
        folder: Where they are.
        notes: The notes.
        within: What names of keys begin with in messages.

    Raises:
        UserError: A key is missing or its value does not fit.
    """
    for key, (expected, fits) in _EXPECTED.items():
        value = notes.get(key, _USUAL.get(key))
        if not fits(value):
            got = repr(value) if key in notes else "nothing"
            raise UserError(
                f"{folder / NOTES_FILE}: {within}{key}: got {got:.60}, expected {expected}; the "
                f"notes of a student look like {_CARD}"
            )
    values = {key: notes[key] for key in _EXPECTED if key in notes and key != "mode"}
    for key in ("timestep_scaling", "stochasticity"):
        values[key] = float(notes.get(key, _USUAL.get(key)))
    return Student(folder, StudentCard(**values), notes.get("mode", "lora"))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


_USUAL: dict[str, Any] = {"steps": STUDENT_STEPS, "stochasticity": 1.0, "mode": "lora"}
_EXPECTED: dict[str, tuple[str, Callable[[object], bool]]] = {
    "base": ("the name or folder of its teacher", _is_text),
    "original_steps": ("a whole number above 0", lambda one: is_whole(one) and one > 0),
    "timestep_scaling": ("a number above 0", lambda one: is_number(one) and one > 0),
    "steps": (
        f"a whole number from 1 to {MOST_STEPS}",
        lambda one: is_whole(one) and 1 <= one <= MOST_STEPS,
    ),
    "stochasticity": ("a number from 0 to 1", lambda one: is_number(one) and 0 <= one <= 1),
    "motion_adapter": (
        "a folder or OWNER/NAME of a hub",
        lambda one: one is None or _is_text(one),
    ),
    "mode": ("lora, full or merged", lambda one: one in ("lora", "full", "merged")),
}


def _teacher_folder(student: Student) -> Path:
    """Find the teacher that a card names: embedded, a folder from there or here, or of a hub."""
    name = student.card.base
    if name in embedded_models():
        return WEIGHTS / name
    place = beside_or_hub(name, student.folder)
    if (place / PIPELINE_FILE).is_file():
        return place
    raise UserError(
        f"{student.folder / NOTES_FILE}: base: no teacher at {name!r}; expected an embedded name "
        f"({_known()}), a folder with {PIPELINE_FILE} or OWNER/NAME of a hub"
    )


def _unknown(name: str) -> str:
    guess = nearest(name, [*embedded_models(), *PUBLISHED])
    hint = f"; did you mean {guess}?" if guess else ""
    return f"no embedded model or folder {name!r}{hint} (embedded: {_known()})"


def _no_folder(file: Path) -> str:
    """Return the message on a file in place of a model's folder.

    Raises:
        UserError: It is a pickled one, which would be refused in a folder too.
    """
    found = find_file(file) if file.suffix in (".safetensors", *PICKLED) else file
    return (
        f"{found} is a file, expected a folder; put LoRA weights into one, as "
        f"{LORA_FILE}, beside a {NOTES_FILE} that names their teacher: {_CARD}"
    )


def _known() -> str:
    return ", ".join(embedded_models()) or "none in this installation"
