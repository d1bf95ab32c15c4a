"""What is exported: a student's files, its teacher, and how it wants to be sampled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mcm.backbones.adapters import LORA_FILE, LoraFile, merge_adapter, read_lora
from mcm.backbones.loading import load_backbone
from mcm.backbones.pipeline import PipelineBackbone
from mcm.errors import UserError
from mcm.sampling.catalog import ModelFiles, Student, find_model

_SHARED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "prediction_type",
    "rescale_betas_zero_snr",
    "steps_offset",
)


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
            UserError: There is none, or it is a teacher, a network of its own or of a family
                without export.
        """
        files = find_model(name_or_folder)
        if files.student is None:
            raise UserError(
                f"{name_or_folder}: is a teacher, in the layout of diffusers already; expected a "
                "student, such as OUTPUT/student of `mcm distill`"
            )
        if files.student.mode != "lora":
            raise UserError(
                f"{name_or_folder}: is a network of its own (student.mode: full), whose folder "
                "unet stock diffusers loads as it is; expected an adapter"
            )
        exported = cls(files, files.student)
        family = exported.backbone.spec.family
        if family != "animatediff":
            raise UserError(
                f"{name_or_folder}: is of family {family}, which cannot be exported yet; stock "
                f"diffusers loads {exported.lora_path} as it is, where it has a LoRA loader"
            )
        return exported

    @property
    def lora_path(self) -> Path:
        """The student's LoRA file."""
        return self.student.folder / LORA_FILE

    @property
    def auxiliary(self) -> list[Path]:
        """Weights of the motion head and the critic, where the run still has them."""
        return sorted((self.student.folder.parent / "auxiliary").glob("*.safetensors"))

    @cached_property
    def backbone(self) -> PipelineBackbone:
        """The teacher, in float32 on the CPU."""
        return load_backbone(self.files.teacher, "cpu", "float32")

    def lora(self) -> LoraFile:
        """Read the LoRA file and check it against the teacher.

        Raises:
            UserError: A file is missing or broken, or the adapter is of another teacher.
        """
        return read_lora(self.lora_path, self.backbone.variants.base, self.backbone.component)

    def merged(self) -> PipelineBackbone:
        """Return a teacher of its own with the adapter added to its weights."""
        backbone = load_backbone(self.files.teacher, "cpu", "float32")
        merge_adapter(backbone, self.student.folder)
        return backbone

    def scheduler(self) -> dict[str, Any]:
        """Return the configuration of the stock `LCMScheduler` that samples it as we do."""
        path = self.files.teacher / "scheduler" / "scheduler_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        return {
            "_class_name": "LCMScheduler",
            **{key: config[key] for key in _SHARED if key in config},
            "original_inference_steps": self.student.card.original_steps,
            "timestep_scaling": self.student.card.timestep_scaling,
            "clip_sample": False,
            "set_alpha_to_one": True,
        }


def write_scheduler(exported: Exported, folder: Path) -> None:
    """Write the scheduler as ``folder/scheduler``, as stock diffusers does."""
    from diffusers import LCMScheduler

    LCMScheduler.from_config(exported.scheduler()).save_pretrained(folder / "scheduler")


def half(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float16 for files, contiguous."""
    return tensor.detach().half().contiguous()
