"""The collapse probe: the student's x0 error at fixed timesteps on clips it never trains on.

A student that collapses forgets what its teacher knew of x0 long before the losses tell.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import few_step_timesteps, l2
from mcm.distillation.batch import DistillBatch
from mcm.distillation.callbacks import Log, Report

POINTS = 4
ALARM = 3.0
_SEED = 259


class CollapseWarning(UserWarning):
    """The student's x0 error has risen far above its teacher's."""


@dataclass(frozen=True, eq=False)
class X0Error:
    """E‖x̂0(x_t, t) − x0‖² / dim on held clips, at the timesteps of 4-step sampling.

    Attributes:
        backbone: Teacher and student.
        clips: Held-out clips, on the network's device.
        timesteps: Falling timesteps.
        noise_bcthw: The one noise of all measurements.
    """

    backbone: Backbone
    clips: DistillBatch
    timesteps: Tensor
    noise_bcthw: Tensor

    @classmethod
    def on(cls, backbone: Backbone, clips: DistillBatch, grid_points: int) -> X0Error:
        """Fix timesteps and noise."""
        steps = min(POINTS, grid_points)
        timesteps = few_step_timesteps(steps, grid_points, backbone.schedule)
        generator = torch.Generator().manual_seed(_SEED)
        noise = torch.randn(clips.latents_bcthw.shape, generator=generator)
        return cls(backbone, clips, timesteps, noise.to(clips.latents_bcthw.device))

    @torch.no_grad()
    def of(self, adapter: str | None) -> dict[str, float]:
        """Return the error at each timestep, by names such as ``t0259``, for an adapter."""
        with self.backbone.using(adapter):
            return {f"t{int(t):04}": self._at(t) for t in self.timesteps}

    def _at(self, t: Tensor) -> float:
        """Measure clip by clip, so that the batch fits wherever training does."""
        errors = [self._of_clip(clip, t) for clip in range(len(self.clips))]
        return float(torch.stack(errors).mean())

    def _of_clip(self, clip: int, t: Tensor) -> Tensor:
        one = slice(clip, clip + 1)
        x0, noise = self.clips.latents_bcthw[one], self.noise_bcthw[one]
        condition: Condition = self.clips.condition[one]
        t_b = t.to(x0.device).expand(1)
        x_t = self.backbone.schedule.add_noise(x0, noise, t_b)
        return l2(self.backbone.predict(x_t, t_b, condition, "x0"), x0)


@dataclass
class Probe:
    """Logs ``probe/t….`` every ``every`` steps and warns when an error passes thrice its start.

    The start is the teacher's own error: a student begins as its teacher.

    Attributes:
        measure: Errors by timestep's name, of the student or (``None``) the teacher.
        student: Name of the adapter.
        log: Where the numbers go.
        every: Steps between measurements.
        started: Whether a resumed run has logged its start before.
    """

    measure: Callable[[str | None], dict[str, float]]
    student: str
    log: Log
    every: int
    started: bool = False
    start: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self.measure(None)
        if not self.started:
            self.log.scalars(0, {f"probe/{name}": value for name, value in self.start.items()})

    def after_step(self, report: Report) -> None:
        """Measure when due."""
        if not report.due(self.every):
            return
        errors = self.measure(self.student)
        self.log.scalars(report.step, {f"probe/{name}": value for name, value in errors.items()})
        risen = [
            f"{name} {self.start[name]:.3g} → {value:.3g}"
            for name, value in errors.items()
            if not value <= ALARM * self.start[name]
        ]
        if risen:
            warnings.warn(
                f"step {report.step}: the student's x0 error rose from {', '.join(risen)}: it "
                "collapses, or takes on looks that the videos do not have; if its clips are poor, "
                "lower optimizer.lr or consistency.grid_points, or raise consistency.ema_decay",
                CollapseWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        """Nothing to finish."""
