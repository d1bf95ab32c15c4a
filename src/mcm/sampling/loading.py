"""Load a student or a teacher by its name or folder."""

from __future__ import annotations

from pathlib import Path

from mcm.backbones.adapters import load_adapter, merge_adapter
from mcm.backbones.base import Backbone
from mcm.backbones.loading import load_backbone
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.variants import Mode
from mcm.devices import pick_device
from mcm.diffusion import FlowSchedule
from mcm.sampling.catalog import Student, adapter_hash, find_model
from mcm.sampling.options import Defaults
from mcm.sampling.pipeline import VideoModel

TEACHER_STEPS = 50


def load(
    name_or_folder: str | Path = "fluent-mcm", device: str = "auto", dtype: str = "auto"
) -> VideoModel:
    """Load a student or a teacher.

    Args:
        name_or_folder: An embedded name (`fluent`, `fluent-dit` or one of their students, such as
            `fluent-mcm` and `fluent-mcm-hq`), a student's folder, a folder in the layout of
            diffusers, the name of a published adapter (`modelscopet2v-laion`), or OWNER/NAME or
            OWNER/NAME@REVISION of a hub.
        device: `auto` (CUDA, MPS, XPU, CPU), or one of them.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.

    Returns:
        The model, its adapter merged.

    Raises:
        UserError: There is no such model or device, or the adapter is of another backbone.
    """
    files = find_model(name_or_folder)
    student = files.student
    mode: Mode = "full" if student is not None and student.mode == "full" else "lora"
    backbone = load_backbone(files.teacher, device, dtype, mode, files.motion_adapter)
    adapter = None if student is None else _add_student(backbone, student)
    defaults, place = _defaults(student, backbone), pick_device(device)
    hashed = (
        adapter_hash(student.folder) if student is not None and student.mode == "lora" else None
    )
    return VideoModel(files.name, backbone, defaults, place, adapter, hashed)


def _add_student(backbone: PipelineBackbone, student: Student) -> str | None:
    """Merge an adapter into the base weights, or add a copy; return the variant to sample."""
    if student.mode == "merged":
        return None
    if student.mode == "lora":
        merge_adapter(backbone, student.folder)
        return None
    load_adapter(backbone, student.folder, "student")
    return "student"


def _defaults(student: Student | None, backbone: Backbone) -> Defaults:
    if student is None:
        solver = "euler" if isinstance(backbone.schedule, FlowSchedule) else "ddim"
        return Defaults(solver, TEACHER_STEPS, backbone.spec.guidance)
    return Defaults(
        sampler="consistency",
        steps=student.card.steps,
        guidance=1.0,
        original_steps=student.card.original_steps,
        timestep_scaling=student.card.timestep_scaling,
        stochasticity=student.card.stochasticity,
    )
