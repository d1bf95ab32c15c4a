"""A progress signal that can be trusted: a small evaluation at few steps while training.

Losses of a consistency student do not tell how its clips look; this makes a few dozen clips on
fixed prompts of the *train* split (the evaluation's prompts stay unseen) and says how near they
are to the real thing.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcm.backbones.json_files import read_json
from mcm.data.cached import CachedImages
from mcm.data.files import PARTIAL_SUFFIX
from mcm.data.fluent.captions import prompt
from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import Combination
from mcm.data.fluent.world import World
from mcm.digests import digest_json
from mcm.distillation.callbacks import Log, Report
from mcm.distillation.checkpoints import ASIDE
from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.frechet import features, frechet_distance, paired_shift
from mcm.evaluation.metric import Observations, Observer
from mcm.evaluation.motion import MotionFidelity
from mcm.evaluation.networks import Judges
from mcm.sampling.pixels import to_uint8

BEST_FILE = "proxy.json"
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
        video: Features of real clips, of which those with the numbers of the prompts show them.
        frames: Features of the frames to look like: the images', or the real clips' own.
        images: Whether there are images to look like.
        observers: What sees clips, and what sees their frames.
        digest: Of all that decides a score, but for the student.
    """

    combinations: tuple[Combination, ...]
    video: Observations
    frames: Observations
    images: bool
    observers: tuple[ClipFeatures, FrameFeatures]
    digest: str

    @classmethod
    def of(
        cls, count: int, images: Iterable[Clip], real: int, judges: Judges | None = None
    ) -> Yardstick:
        """Compose it.

        Args:
            count: Prompts.
            images: Frames (1, h, w, 3) that the student's should look like; with none, they
                should look like those of the real clips.
            real: Real clips to compare with; at least one for each prompt is taken.
            judges: The trained networks.

        Raises:
            UserError: A network is missing, which names the command that trains it; or there is
                one image, of which a Fréchet distance cannot be.
        """
        judges = judges or Judges()
        observers = ClipFeatures(judges), FrameFeatures(judges)
        world, named = World(), combinations(count)
        clips = [
            _clip(str(n), decode(world.poor_video(_FIRST + n)[0])) for n in range(max(real, count))
        ]
        stills = [_clip(str(n), image) for n, image in enumerate(images)]
        if len(stills) == 1:
            raise UserError(
                "trainer.proxy_every: data.images holds one image, and a distance to images needs "
                "two at least; give more, or set trainer.proxy_every=null"
            )
        video = _seen(observers[0], clips)
        frames = _seen(observers[1], stills or clips)
        facts = [judges.digest("clips"), judges.digest("frames"), count, len(clips)]
        looks = [sha256(still.frames_thwc.tobytes()).hexdigest() for still in stills]
        return cls(named, video, frames, bool(stills), observers, digest_json([*facts, *looks]))

    @property
    def prompts(self) -> list[str]:
        """The prompts' plain wording."""
        return [prompt(combination) for combination in self.combinations]

    def measure(self, make: Make) -> dict[str, float]:
        """Return ``fvd``, ``fid``, ``shift``, ``motion`` and ``score`` (lower is better).

        The shift is the first term of the FVD, |μ_x − μ_y|², between the student's clips and real
        ones of the same prompts, by :func:`~mcm.evaluation.frechet.paired_shift`. The score is
        log FID where there are images to look like, else log shift (one below its own error counts
        as that), less log of the share of clips that make their motion: neither good looks without
        motion nor motion without good looks wins.
        """
        clips = [
            _clip(str(n), make(n), text, named)
            for n, (text, named) in enumerate(zip(self.prompts, self.combinations, strict=True))
        ]
        judge = MotionFidelity()
        motion = sum(judge.score(clip).value for clip in clips) / len(clips)
        of_clips, of_frames = self.observers
        seen = _seen(of_clips, clips)
        shift, error = paired_shift(_rows(seen), _rows({key: self.video[key] for key in seen}))
        fvd, fid = _distance(seen, self.video), _distance(_seen(of_frames, clips), self.frames)
        far = fid if self.images else max(shift, error)
        score = math.log(max(far, 1e-6)) - math.log(max(motion, 0.5 / len(clips)))
        return {"fvd": fvd, "fid": fid, "shift": shift, "motion": motion, "score": score}


@dataclass
class Proxy:
    """Logs ``proxy/…`` every ``every`` steps and keeps the best student so far.

    Attributes:
        measure: Measures the student as it is.
        write: Writes the student as it is into a folder.
        folder: Of the best student; ``proxy.json`` in it says how good it is.
        log: Where the numbers go.
        every: Steps between measurements.
        yardstick: Digest of what it is measured with.
        done: Finished steps before this run. A best student of later ones, or by another
            yardstick, is set aside.
        best: The lowest score so far.
    """

    measure: Callable[[], dict[str, float]]
    write: Callable[[Path], object]
    folder: Path
    log: Log
    every: int
    yardstick: str = ""
    done: int = 0
    best: float = field(default=math.inf, init=False)

    def __post_init__(self) -> None:
        file = self.folder / BEST_FILE
        if not file.is_file():
            return
        facts = read_json(file, "what a run with trainer.proxy_every writes")
        if facts.get("yardstick") == self.yardstick and facts["step"] <= self.done:
            self.best = float(facts["score"])
            return
        aside = self.folder.with_name(ASIDE + self.folder.name)
        shutil.rmtree(aside, ignore_errors=True)
        print(
            "set aside, as it is from after the step that the run goes on from, or was measured "
            f"otherwise: {self.folder.rename(aside)}",
            file=sys.stderr,
        )

    def after_step(self, report: Report) -> None:
        """Measure when due, and keep the student if it is the best."""
        if not report.due(self.every):
            return
        found = self.measure()
        self.log.scalars(report.step, {f"proxy/{name}": value for name, value in found.items()})
        if found["score"] < self.best:
            self.best = found["score"]
            self._keep({"step": report.step, **found, "yardstick": self.yardstick})

    def _keep(self, facts: Mapping[str, object]) -> None:
        """Write the student with what is known of it, and put it in place when it is whole."""
        partial = self.folder.with_name(f".{self.folder.name}{PARTIAL_SUFFIX}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.write(partial)
        (partial / BEST_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)
        partial.rename(self.folder)

    def close(self) -> None:
        """Nothing to finish."""


def combinations(count: int) -> tuple[Combination, ...]:
    """Return what fixed prompts of the training split name, of scenes in no training shard."""
    world = World()
    return tuple(world.scene(_FIRST + n).combination for n in range(count))


def images_of(cache: str, most: int) -> Iterator[Clip]:
    """Yield frames (1, h, w, 3) of a cache of images: what the critic's real side is, as stills."""
    images = CachedImages(cache)
    for number in range(min(most, len(images))):
        yield to_uint8(images.batch([number]).pixels_b3hw)


def _clip(
    key: str, frames_thwc: Clip, text: str = "", named: Combination | None = None
) -> EvaluationClip:
    return EvaluationClip(key, frames_thwc, text, named)


def _seen(observer: Observer, clips: Sequence[EvaluationClip]) -> Observations:
    return {clip.key: observer.observe(clip) for clip in clips}


def _distance(seen: Observations, real: Observations) -> float:
    return frechet_distance(_rows(seen), _rows(real))


def _rows(seen: Observations) -> NDArray[np.float64]:
    found = features(seen)
    return found.reshape(-1, found.shape[-1])
