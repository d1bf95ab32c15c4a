"""Validation clips: student at few steps beside the teacher, on fixed seeds, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcm.backbones.base import Backbone, Condition
from mcm.distillation.callbacks import Log, Report
from mcm.distillation.sheet import Row, save_animation, save_sheet
from mcm.distillation.steps import student_plan
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.pixels import to_uint8
from mcm.sampling.samplers import Plan, consistency, ddim
from mcm.settings import Recipe

Clip = NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """One clip to make, whoever makes it."""

    prompt: str
    seed: int
    condition: Condition


def requests(prompts: Sequence[str], seeds: Sequence[int], conditions: Condition) -> list[Request]:
    """Pair every prompt with every seed; ``conditions`` holds one row per prompt."""
    return [
        Request(prompt, seed, conditions[i : i + 1])
        for i, prompt in enumerate(prompts)
        for seed in seeds
    ]


def own_seeds(prompts: Sequence[str], conditions: Condition) -> list[Request]:
    """Give every prompt a seed of its own; one noise for all hides how varied a student is."""
    return [
        Request(prompt, number, conditions[number : number + 1])
        for number, prompt in enumerate(prompts)
    ]


@dataclass(frozen=True, eq=False)
class ClipMaker:
    """Generates clips with the teacher or with the student.

    Attributes:
        backbone: Both.
        empty: Text states of the empty prompt, for the teacher's guidance.
        shape: Latents of a clip, (c, t, h, w).
        recipe: Says how the student was trained.
        device: Where to sample.
        written: Makes the student inside the one that would be written.
    """

    backbone: Backbone
    empty: Condition
    shape: tuple[int, int, int, int]
    recipe: Recipe
    device: torch.device
    written: Callable[[], AbstractContextManager[None]] = nullcontext

    def teacher(self, request: Request) -> Clip:
        """Sample the teacher with guidance by DDIM."""
        steps = self.recipe.trainer.validation.teacher_steps
        guidance = self.backbone.spec.guidance
        denoiser = Denoiser(self.backbone, request.condition, self.empty, guidance)
        with torch.no_grad(), self.backbone.using(None):
            plan = Plan(self.shape, steps, device=self.device)
            return self._decode(ddim(denoiser, Noise.from_seeds([request.seed]), plan))

    def student(self, request: Request, steps: int, adapter: str) -> Clip:
        """Sample the student in few steps."""
        plan = student_plan(self.recipe.consistency, self.shape, steps, self.device)
        with torch.no_grad(), self.written(), self.backbone.using(adapter):
            denoiser = Denoiser(self.backbone, request.condition)
            return self._decode(consistency(denoiser, Noise.from_seeds([request.seed]), plan))

    def _decode(self, latents_bcthw: Tensor) -> Clip:
        return to_uint8(self.backbone.decode_frames(latents_bcthw)[0])


class Validation:
    """Makes ``validation/step-….png`` and ``.webp`` every ``every`` steps and at the end."""

    def __init__(
        self,
        maker: ClipMaker,
        wanted: Sequence[Request],
        adapter: str,
        folder: Path,
        log: Log,
        every: int,
    ) -> None:
        """Prepare; the teacher's clips are made once, when first needed."""
        self.maker, self.wanted, self.adapter = maker, wanted, adapter
        self.folder, self.log, self.every = folder, log, every
        points = maker.recipe.consistency.grid_points
        self.steps = [n for n in maker.recipe.trainer.validation.steps if n <= points]
        self._teacher: list[Clip] = []

    def after_step(self, report: Report) -> None:
        """Make the clips when due."""
        if report.due(self.every):
            self.make(report.step)

    def make(self, step: int) -> list[Path]:
        """Make all clips and return the two files."""
        self._teacher = self._teacher or [self.maker.teacher(request) for request in self.wanted]
        rows = [
            row
            for request, clip in zip(self.wanted, self._teacher, strict=True)
            for row in self._rows(request, clip)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self.folder / f"step-{step:08}"
        sheet = save_sheet(rows, stem.with_suffix(".png"))
        columns, fps = 1 + len(self.steps), self.maker.backbone.spec.fps
        animation = save_animation(rows, columns, fps, stem.with_suffix(".webp"))
        self.log.picture(step, "validation", sheet)
        return [sheet, animation]

    def close(self) -> None:
        """Nothing to finish."""

    def _rows(self, request: Request, teacher: Clip) -> list[Row]:
        count = self.maker.recipe.trainer.validation.teacher_steps
        title = f"{request.prompt}, seed {request.seed}"
        students = [
            Row(f"{n} step{'s' if n > 1 else ''}", "", self._student(request, n))
            for n in self.steps
        ]
        return [Row(f"teacher, {count} steps", title, teacher), *students]

    def _student(self, request: Request, steps: int) -> Clip:
        return self.maker.student(request, steps, self.adapter)
