"""A protocol that takes no time, and models that paint clips of one grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcm.evaluation.arrays import pack
from mcm.evaluation.black import NearBlackRate
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Request
from mcm.evaluation.frechet import FrechetDistance
from mcm.evaluation.metric import Metric, Observation, Observer
from mcm.evaluation.protocol import Protocol, Reference
from mcm.evaluation.speed import SecondsPerClip


def grey(request: Request, level: int) -> EvaluationClip:
    frames = np.full((2, 4, 4, 3), level + request.seed, np.uint8)
    return EvaluationClip(request.key, frames, request.prompt, seconds=0.5)


class Level:
    """Sees how bright a clip is."""

    name = "level"

    def observe(self, clip: EvaluationClip) -> Observation:
        return {"features": pack(clip.frames_thwc.mean((1, 2)).astype(np.float64))}


@dataclass(frozen=True)
class Small:
    """Real material is bright; its network of brightness may be missing."""

    judge: str | None = "j"
    prompt: str = "a fox"

    name = "small"
    frames = 2
    size = (4, 4)
    fps = 8

    def requests(self, count: int | None = None) -> list[Request]:
        return [Request(f"{n:05}", f"{self.prompt} {n}", n) for n in range(count or 4)]

    def metrics(self) -> list[Metric]:
        fid = FrechetDistance("fid", "FID", Level.name, "real")
        return [fid, NearBlackRate(), SecondsPerClip()]

    def observers(self, metrics: Sequence[Metric]) -> list[Observer]:
        own: list[Any] = [m for m in metrics if m.observer == m.name]
        return [*own, *([Level()] if any(m.observer == Level.name for m in metrics) else [])]

    def missing(self) -> dict[str, str]:
        return {} if self.judge else {Level.name: "no network"}

    def references(self) -> dict[str, Reference]:
        shown = frozenset(("fid", "near_black"))
        return {
            "real": Reference(3, lambda request: grey(request, 200), shown),
            "clean": Reference(2, lambda request: grey(request, 220), shown),
        }

    def facts(self) -> dict[str, Any]:
        shape = {"name": self.name, "frames": self.frames, "size": self.size, "fps": self.fps}
        return {**shape, "prompts": self.prompt, "judges": {"level": self.judge}}


@dataclass
class Painter:
    """A model that paints one grey, and remembers what it made."""

    label: str
    steps: tuple[int, ...] = (4,)
    level: int = 200
    weights: str = "a"
    dtype: str = "float32"
    asked_format: dict[str, str] = field(default_factory=dict)
    breaks_at: int | None = None
    made: list[int] = field(default_factory=list)
    loaded: bool = False

    @property
    def model(self) -> str:
        return f"models/{self.label}"

    @property
    def text(self) -> str:
        return self.model

    def header(self, steps: int) -> dict[str, Any]:
        return {"model": self.label, "weights": self.weights, "steps": steps}

    def resolved(self, steps: int, protocol: Protocol) -> dict[str, Any]:
        return {"dtype": self.dtype}

    def make(self, request: Request, steps: int, protocol: Protocol) -> EvaluationClip:
        if request.seed == self.breaks_at:
            raise KeyboardInterrupt
        self.made.append(request.seed)
        self.loaded = True
        return grey(request, self.level)

    def release(self) -> None:
        self.loaded = False
