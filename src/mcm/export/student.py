"""What is exported: a student's files, its teacher, and how it wants to be sampled."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mcm.backbones.adapters import merge_adapter, read_adapter
from mcm.backbones.animatediff import MOTION_MARK
from mcm.backbones.folder import INDEX
from mcm.backbones.hub import beside_or_hub
from mcm.backbones.json_files import NOTES_FILE, read_json, read_notes
from mcm.backbones.lora_files import LORA_FILE, LoraFile
from mcm.backbones.pipeline import PipelineBackbone
from mcm.errors import UserError
from mcm.export.base import Place, said_place
from mcm.export.teacher import load_teacher
from mcm.recipe import FILE_NAME
from mcm.sampling.catalog import ModelFiles, Student, find_model

AUXILIARY = "auxiliary"
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]
_OF_A_RUN = "student"


@dataclass(frozen=True)
class Exported:
    """A LoRA student on its way out.

    Attributes:
        files: Where its parts are.
        student: The part that was trained.
        whole: Whether text encoder and autoencoder of the teacher are needed.
        said: Where others find the teacher, if the user says it.
    """

    files: ModelFiles
    student: Student
    whole: bool = False
    said: Place | None = None

    @classmethod
    def find(
        cls, name_or_folder: str, whole: bool = False, said_base: str | None = None
    ) -> Exported:
        """Find a student.

        Args:
            name_or_folder: As for `find_model`.
            whole: Whether text encoder and autoencoder of the teacher are needed.
            said_base: ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` of the teacher on a hub.

        Raises:
            UserError: There is none, or it is a teacher or a network of its own.
        """
        said = None if said_base is None else said_place(said_base)
        files = find_model(name_or_folder)
        if files.student is None:
            raise UserError(
                f"{name_or_folder}: is a teacher, in the layout of diffusers already; expected a "
                "student, such as OUTPUT/student of `mcm distill`"
            )
        if files.student.mode != "lora":
            raise UserError(
                f"{name_or_folder}: is a whole network ({files.student.mode}), whose folders stock "
                "diffusers loads as they are; expected an adapter"
            )
        return cls(files, files.student, whole, said)

    @property
    def name(self) -> str:
        """The student's name: of its folder, or of its run."""
        folder = self.student.folder.resolve()
        return folder.parent.name if folder.name == _OF_A_RUN else folder.name

    @property
    def family(self) -> str:
        """Family of the teacher."""
        return self.backbone.spec.family

    @property
    def base(self) -> Place:
        """Where others find the teacher."""
        return self.said or Place.of(self.files.teacher, self.student.card.base)

    @property
    def motion(self) -> Place | None:
        """Where others find the motion modules of an image model."""
        folder = self.motion_adapter
        if folder is None or not self.of_image_model:
            return None
        return Place.of(folder, self.student.card.motion_adapter)

    @property
    def of_image_model(self) -> bool:
        """Whether the teacher is an image model that motion modules are added to."""
        index = read_json(self.files.teacher / INDEX, "the index of a pipeline")
        return bool(index.get("_class_name") == "StableDiffusionPipeline")

    @property
    def motion_adapter(self) -> Path | None:
        """Folder of the motion modules of an image model."""
        named = read_notes(self.files.teacher).get("motion_adapter")
        folder = None if named is None else beside_or_hub(named, self.files.teacher).resolve()
        return self.files.motion_adapter or folder

    @property
    def auxiliary(self) -> list[Path]:
        """Weights of the motion head and the critic, of a run or of an export."""
        for place in (self.student.folder, self.student.folder.parent):
            there = (place / AUXILIARY).iterdir() if (place / AUXILIARY).is_dir() else ()
            if found := sorted(path for path in there if path.suffix == ".safetensors"):
                return found
        return []

    @cached_property
    def backbone(self) -> PipelineBackbone:
        """The teacher on the CPU, in the number format in which it is stored."""
        return load_teacher(self.files.teacher, self.files.motion_adapter, self.whole)

    @cached_property
    def lora(self) -> dict[str, LoraFile]:
        """The adapter of each network, by the name of its file, checked against the teacher.

        Raises:
            UserError: A file is missing or broken, or the adapter is of another teacher.
        """
        return read_adapter(self.backbone, self.student.folder)

    @property
    def image_pairs(self) -> Pairs:
        """What the adapter changes outside of motion modules (AnimateDiff)."""
        pairs = self.lora[LORA_FILE].pairs
        return {module: pair for module, pair in pairs.items() if MOTION_MARK not in module}

    @cached_property
    def merged(self) -> PipelineBackbone:
        """The same teacher, from now on with the adapter added to its weights."""
        assert self.lora, "read before the weights that it is checked against change"
        merge_adapter(self.backbone, self.student.folder)
        return self.backbone

    @property
    def places(self) -> dict[str, Place]:
        """Where others find the teacher and its motion modules, by their keys in `mcm.json`."""
        motion = {} if self.motion is None else {"motion_adapter": self.motion}
        return {"base": self.base, **motion}

    @property
    def notes(self) -> dict[str, Any]:
        """What `mcm.json` says of the student, with its teacher as others find it."""
        names = {key: place.name for key, place in self.places.items()}
        card = {key: value for key, value in asdict(self.student.card).items() if value is not None}
        return card | read_notes(self.student.folder) | names

    def write_notes(self, folder: Path) -> None:
        """Write what makes the folder a student for us: its notes and its recipe."""
        text = json.dumps(self.notes, indent=2, ensure_ascii=False)
        (folder / NOTES_FILE).write_text(text + "\n", encoding="utf-8")
        if (self.student.folder / FILE_NAME).is_file():
            shutil.copy(self.student.folder / FILE_NAME, folder / FILE_NAME)

    def copy_auxiliary(self, folder: Path) -> None:
        """Copy head and critic, with which others can continue the training."""
        for path in self.auxiliary:
            (folder / AUXILIARY).mkdir(exist_ok=True)
            shutil.copy(path, folder / AUXILIARY / path.name)


def half(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float16 for files, contiguous.

    Raises:
        UserError: A number is too large for it.
    """
    found = tensor.detach().half().contiguous()
    if not found.isfinite().all():
        raise UserError(
            f"format: an adapter's number of {float(tensor.abs().max()):.3g} is too large for "
            "float16, in which these files are; use lora or pipeline"
        )
    return found
