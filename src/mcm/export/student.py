"""What is exported: a student's files, its teacher, and how it wants to be sampled."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from mcm.backbones.adapters import merge_adapter, read_adapter
from mcm.backbones.components import read_json
from mcm.backbones.folder import INDEX
from mcm.backbones.loading import load_backbone
from mcm.backbones.lora_files import NOTES_FILE, LoraFile
from mcm.backbones.pipeline import PipelineBackbone
from mcm.errors import UserError
from mcm.recipe import FILE_NAME
from mcm.sampling.catalog import ModelFiles, Student, find_model

AUXILIARY = "auxiliary"


@dataclass(frozen=True)
class Exported:
    """A LoRA student on its way out.

    Attributes:
        files: Where its parts are.
        student: The part that was trained.
    """

    files: ModelFiles
    student: Student

    @classmethod
    def find(cls, name_or_folder: str) -> Exported:
        """Find a student.

        Raises:
            UserError: There is none, or it is a teacher or a network of its own.
        """
        files = find_model(name_or_folder)
        if files.student is None:
            raise UserError(
                f"{name_or_folder}: is a teacher, in the layout of diffusers already; expected a "
                "student, such as OUTPUT/student of `mcm distill`"
            )
        if files.student.mode != "lora":
            raise UserError(
                f"{name_or_folder}: is a network of its own (student.mode: full), whose folders "
                "stock diffusers loads as they are; expected an adapter"
            )
        return cls(files, files.student)

    @property
    def family(self) -> str:
        """Family of the teacher."""
        return self.backbone.spec.family

    @property
    def base(self) -> str:
        """The teacher as others find it: its repository on a hub, or what the student calls it."""
        return self._hub[0] or self.student.card.base

    @property
    def revision(self) -> str:
        """Commit of the teacher's repository, if it came from a hub."""
        return self._hub[1]

    @property
    def _hub(self) -> tuple[str, str]:
        """Repository and commit, as a hub's cache names its folders, or empty strings."""
        found = re.search(r"models--(.+?)--([^/]+)/snapshots/(\w+)", self.files.teacher.as_posix())
        return (f"{found[1]}/{found[2]}", found[3]) if found else ("", "")

    @property
    def of_image_model(self) -> bool:
        """Whether the teacher is an image model that motion modules are added to."""
        index = read_json(self.files.teacher / INDEX, "the index of a pipeline")
        return bool(index.get("_class_name") == "StableDiffusionPipeline")

    @property
    def motion_adapter(self) -> Path | None:
        """Folder of the motion modules of an image model."""
        notes = self.files.teacher / NOTES_FILE
        named = read_json(notes, "a JSON object").get("motion_adapter") if notes.is_file() else None
        folder = None if named is None else (self.files.teacher / named).resolve()
        return self.files.motion_adapter or folder

    @property
    def auxiliary(self) -> list[Path]:
        """Weights of the motion head and the critic, of a run or of an export."""
        for place in (self.student.folder, self.student.folder.parent):
            found = sorted((place / AUXILIARY).glob("*.safetensors"))
            if found:
                return found
        return []

    @cached_property
    def backbone(self) -> PipelineBackbone:
        """The teacher, in float32 on the CPU."""
        return load_backbone(
            self.files.teacher, "cpu", "float32", motion_adapter=self.files.motion_adapter
        )

    @cached_property
    def lora(self) -> dict[str, LoraFile]:
        """The adapter of each network, by the name of its file, checked against the teacher.

        Raises:
            UserError: A file is missing or broken, or the adapter is of another teacher.
        """
        return read_adapter(self.backbone, self.student.folder)

    def merged(self) -> PipelineBackbone:
        """Return a teacher of its own with the adapter added to its weights."""
        backbone = load_backbone(
            self.files.teacher, "cpu", "float32", motion_adapter=self.files.motion_adapter
        )
        merge_adapter(backbone, self.student.folder)
        return backbone

    def copy_notes(self, folder: Path) -> None:
        """Copy what makes the folder a student for us: its notes and its recipe."""
        for name in (NOTES_FILE, FILE_NAME):
            if (self.student.folder / name).is_file():
                shutil.copy(self.student.folder / name, folder / name)

    def copy_auxiliary(self, folder: Path) -> None:
        """Copy head and critic, with which others can continue the training."""
        for path in self.auxiliary:
            (folder / AUXILIARY).mkdir(exist_ok=True)
            shutil.copy(path, folder / AUXILIARY / path.name)


def half(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float16 for files, contiguous."""
    return tensor.detach().half().contiguous()
