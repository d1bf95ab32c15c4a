"""A progress signal that can be trusted: a small evaluation at few steps while training.

Losses of a consistency student do not tell how its clips look; this makes a few dozen clips on
fixed prompts of the *train* split (the evaluation's prompts stay unseen) and says how near they
are to the real thing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.captions import prompt
from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import Combination
from mcm.data.fluent.world import World
from mcm.distillation.callbacks import Log, Report
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.frechet import features, frechet_distance
from mcm.evaluation.metric import Observations, Observer
from mcm.evaluation.motion import MotionFidelity

STEPS = 4
REAL = 512
_FIRST = 100_000
"""Number of the first scene: training shards hold those from 0."""

Clip = NDArray[np.uint8]
Make = Callable[[int], Clip]
"""Gives the student's clip of prompt ``n``."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Fixed prompts and the real material that clips of them are held against.

    Attributes:
        combinations: What each prompt names.
        video: Features of real clips.
        frames: Features of the frames to look like: clean stills, or the real clips' own.
    """

    combinations: tuple[Combination, ...]
    video: Observations
    frames: Observations

    @classmethod
    def of(cls, count: int, clean: bool, real: int) -> Yardstick:
        """Compose it.

        Args:
            count: Prompts.
            clean: Whether frames should look like the clean stills.
            real: Real clips and frames to compare with.
        """
        world = World()
        named = tuple(world.scene(_FIRST + n).combination for n in range(count))
        clips = [_clip(str(n), decode(world.poor_video(_FIRST + n)[0])) for n in range(real)]
        stills = [
            _clip(str(n), np.asarray(world.still(_FIRST + n).image)[None])
            for n in range(real if clean else 0)
        ]
        return cls(named, _seen(ClipFeatures(), clips), _seen(FrameFeatures(), stills or clips))

    @property
    def prompts(self) -> list[str]:
        """The prompts' plain wording."""
        return [prompt(combination) for combination in self.combinations]

    def measure(self, make: Make) -> dict[str, float]:
        """Return ``fvd``, ``fid``, ``motion`` and ``score`` (lower is better) of a student.

        The score is log FID − log of the share of clips that make their motion, so that neither
        good looks without motion nor motion without good looks wins.
        """
        clips = [
            _clip(str(n), make(n), text, named)
            for n, (text, named) in enumerate(zip(self.prompts, self.combinations, strict=True))
        ]
        judge = MotionFidelity()
        motion = sum(judge.score(clip).value for clip in clips) / len(clips)
        fvd = _distance(_seen(ClipFeatures(), clips), self.video)
        fid = _distance(_seen(FrameFeatures(), clips), self.frames)
        score = math.log(max(fid, 1e-6)) - math.log(max(motion, 0.5 / len(clips)))
        return {"fvd": fvd, "fid": fid, "motion": motion, "score": score}


@dataclass
class Proxy:
    """Logs ``proxy/…`` every ``every`` steps and keeps the best student so far.

    Attributes:
        measure: Measures the student as it is.
        keep: Writes the student of a step as the best.
        folder: Of the best student; ``proxy.json`` in it says how good it is.
        log: Where the numbers go.
        every: Steps between measurements.
        best: The lowest score so far.
    """

    measure: Callable[[], dict[str, float]]
    keep: Callable[[int], None]
    folder: Path
    log: Log
    every: int
    best: float = field(default=math.inf)

    def __post_init__(self) -> None:
        file = self.folder / "proxy.json"
        if file.is_file():
            self.best = float(json.loads(file.read_text(encoding="utf-8"))["score"])

    def after_step(self, report: Report) -> None:
        """Measure when due, and keep the student if it is the best."""
        if report.step % self.every and not report.last:
            return
        found = self.measure()
        self.log.scalars(report.step, {f"proxy/{name}": value for name, value in found.items()})
        if found["score"] < self.best:
            self.best = found["score"]
            self.keep(report.step)
            facts = json.dumps({"step": report.step, **found}, indent=2)
            (self.folder / "proxy.json").write_text(facts + "\n", encoding="utf-8")

    def close(self) -> None:
        """Nothing to finish."""


def _clip(
    key: str, frames_thwc: Clip, text: str = "", named: Combination | None = None
) -> EvaluationClip:
    return EvaluationClip(key, frames_thwc, text, named)


def _seen(observer: Observer, clips: Sequence[EvaluationClip]) -> Observations:
    return {clip.key: observer.observe(clip) for clip in clips}


def _distance(seen: Observations, real: Observations) -> float:
    own, others = features(seen), features(real)
    return frechet_distance(own.reshape(-1, own.shape[-1]), others.reshape(-1, others.shape[-1]))
