"""From the name or folder of a model to the files that make it.

A student is a folder with ``mcm.json`` and an adapter (or, after full fine-tuning, a network of
its own) for the teacher that ``mcm.json`` names. A folder in the layout of diffusers
(``model_index.json``) is a teacher.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mcm.backbones.adapters import read_notes
from mcm.backbones.lora_files import NOTES_FILE, PEFT_CARD
from mcm.errors import UserError, nearest
from mcm.sampling.published import (
    ORIGINAL_STEPS,
    PUBLISHED,
    TIMESTEP_SCALING,
    fetch_adapter,
    fetch_teacher,
)

PIPELINE_FILE = "model_index.json"
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
STUDENT_STEPS = 4
STUDENT_FOLDER = "student"
"""Folder of the student in the output of every distillation."""


@dataclass(frozen=True)
class StudentCard:
    """What sampling must know of a student, as its ``mcm.json`` says.

    Attributes:
        base: Name of the embedded teacher, or its folder (absolute, or relative to the
            student's or the working folder).
        original_steps: Solver grid points of its training.
        timestep_scaling: k of its c_skip and c_out.
        steps: Steps to take when the user does not say.
        stochasticity: γ of its sampler when the user does not say.
    """

    base: str
    original_steps: int
    timestep_scaling: float
    steps: int = STUDENT_STEPS
    stochasticity: float = 1.0


@dataclass(frozen=True)
class Student:
    """A student's files.

    Attributes:
        folder: Holds its weights.
        card: How to sample it.
        mode: `lora`, or `full` if it has a network of its own.
    """

    folder: Path
    card: StudentCard
    mode: str = "lora"


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's parts are.

    Attributes:
        name: What the user called it.
        teacher: Folder in the layout of diffusers.
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
    """Find a student or teacher.

    Args:
        name_or_folder: Name of an embedded model, a folder, or a published adapter's name. An
            embedded name wins over a folder of the same name; write ``./name`` for the folder.

    Raises:
        UserError: There is no such model, or its folder lacks something.
    """
    name = str(name_or_folder)
    folder = WEIGHTS / name if name in embedded_models() else Path(name_or_folder).expanduser()
    if not folder.is_dir():
        if name not in PUBLISHED:
            raise UserError(_unknown(name))
        folder = fetch_adapter(name)
    if (folder / PIPELINE_FILE).is_file():
        return ModelFiles(name, folder)
    if (folder / PEFT_CARD).is_file() and not (folder / NOTES_FILE).is_file():
        return _published(name, folder)
    if not (folder / NOTES_FILE).is_file():
        raise UserError(
            f"{folder}: holds no model; expected {NOTES_FILE} (a student) or {PIPELINE_FILE} "
            "(a teacher in the layout of diffusers)"
        )
    student = _student(folder)
    return ModelFiles(name, _teacher_folder(student), student)


def _published(name: str, folder: Path) -> ModelFiles:
    """Return a PEFT folder, whose teacher only its name tells."""
    if folder.name not in PUBLISHED:
        raise UserError(
            f"{folder}: a PEFT adapter, and nothing says its teacher; write {NOTES_FILE} into the "
            'folder: {"base": TEACHER, "original_steps": 50, "timestep_scaling": 4.0} (published '
            f"ones are known by their names: {', '.join(PUBLISHED)})"
        )
    teacher, motion = fetch_teacher(folder.name)
    card = StudentCard(PUBLISHED[folder.name].model, ORIGINAL_STEPS, TIMESTEP_SCALING)
    return ModelFiles(name, teacher, Student(folder, card), motion)


def adapter_hash(student: Student) -> str:
    """Return SHA-256 of a student's weights, file after file."""
    digest = hashlib.sha256()
    for file in sorted(student.folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _student(folder: Path) -> Student:
    notes = read_notes(folder)
    try:
        card = StudentCard(
            base=str(notes["base"]),
            original_steps=int(notes["original_steps"]),
            timestep_scaling=float(notes["timestep_scaling"]),
            steps=int(notes.get("steps", STUDENT_STEPS)),
            stochasticity=float(notes.get("stochasticity", 1.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / NOTES_FILE}: not the notes of a student ({error}); expected the keys "
            "base, original_steps and timestep_scaling"
        ) from None
    return Student(folder, card, notes.get("mode", "lora"))


def _teacher_folder(student: Student) -> Path:
    """Find the teacher that a card names: embedded, or a folder from there or from here."""
    name = student.card.base
    if name in embedded_models():
        return WEIGHTS / name
    for place in (student.folder / name, Path(name).expanduser()):
        if (place / PIPELINE_FILE).is_file():
            return place
    raise UserError(
        f"{student.folder / NOTES_FILE}: base: no teacher at {name!r}; expected an embedded name "
        f"({_known()}) or a folder with {PIPELINE_FILE}"
    )


def _unknown(name: str) -> str:
    guess = nearest(name, [*embedded_models(), *PUBLISHED])
    hint = f"; did you mean {guess}?" if guess else ""
    return f"model: no embedded model or folder {name!r}{hint} (embedded: {_known()})"


def _known() -> str:
    return ", ".join(embedded_models()) or "none in this installation"
