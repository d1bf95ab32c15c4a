"""A whole evaluation: real runs to compare with, every contender at its steps, one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from mcm.evaluation.alignment import TextAlignment
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import TEACHER, FlowAgreement, FlowError
from mcm.evaluation.contenders import Contender
from mcm.evaluation.diversity import Diversity
from mcm.evaluation.embedded import PROTOCOL, RealClips, RealStills, Request, requests
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.frechet import FrechetDistance
from mcm.evaluation.judge import default_metrics, observers_of
from mcm.evaluation.metric import NOTHING, Metric, Result
from mcm.evaluation.runs import OnClip, Row, observations, observe_all, read_rows

REAL_VIDEO, REAL_IMAGE, REAL_FLAT = "real-poor", "real-image", "real-flat"
TEACHER_STEPS = 50


@dataclass(frozen=True)
class Part:
    """One share of the work of several processes, counted from 0."""

    number: int = 0
    of: int = 1

    def take(self, asked: Sequence[Request]) -> list[Request]:
        """Return the requests of this part."""
        return list(asked[self.number :: self.of])


class ClipSink(Protocol):
    """Takes clips to show beside one another."""

    def show(self, run: str, clip: EvaluationClip) -> None:
        """Take a clip of a run."""


@dataclass(frozen=True)
class TableRow:
    """The results of one run.

    Attributes:
        label: The model's name.
        steps: Network steps; 0 for real material.
        results: Value and interval by metric.
    """

    label: str
    steps: int
    results: dict[str, Result]


def all_metrics() -> list[Metric]:
    """Return every metric, in the order of the table."""
    fvd = FrechetDistance("fvd", "FVD", ClipFeatures.name, REAL_VIDEO)
    fids = [
        FrechetDistance(f"fid_{domain}", f"FID to {domain}", FrameFeatures.name, run)
        for domain, run in (("video", REAL_VIDEO), ("image", REAL_IMAGE), ("flat", REAL_FLAT))
    ]
    compared = [TextAlignment(), FlowAgreement(), FlowError(), Diversity()]
    return [fvd, *fids, *default_metrics(), *compared]


@dataclass(frozen=True)
class Suite:
    """An evaluation in a folder: run parts of it anywhere, then make its table.

    Attributes:
        folder: Holds ``runs/NAME/PART.jsonl``.
        contenders: Who takes part.
        count: Clips of each run.
        teacher: Whose clips at 50 steps flow is compared with; no such metric without.
        real_count: Real clips or stills of each reference.
    """

    folder: Path
    contenders: tuple[Contender, ...]
    count: int
    teacher: Contender | None = None
    real_count: int = 2252

    def run(self, part: Part, on_clip: Callable[[str], OnClip], clips: ClipSink) -> None:
        """Generate and observe what this part of the evaluation has not yet.

        Args:
            part: Which share of every run.
            on_clip: Gives for the name of a run what is called after each of its clips.
            clips: Is shown every clip with the name of its run.
        """
        metrics = all_metrics()
        asked = part.take(requests(self.count))
        for name, real in self._real().items():
            shown = part.take(requests(self.real_count))
            wanted = [m for m in metrics if m.reference == name]
            observers = observers_of(wanted)
            path, header = self._path(name, part), {"protocol": PROTOCOL, "model": name}
            observe_all(real, shown, observers, path, header, on_clip(name))
        for contender, steps in self._runs():
            name = run_name(contender.label, steps)
            make = partial(_shown, contender, steps, name, clips)
            path, header = self._path(name, part), contender.header(steps, PROTOCOL)
            observe_all(make, asked, observers_of(metrics), path, header, on_clip(name))

    def complete(self) -> bool:
        """Return whether every run has all its clips."""
        names = [run_name(contender.label, steps) for contender, steps in self._runs()]
        clips = [len(self._rows(name, self.count)) == self.count for name in names]
        real = [len(self._rows(name, self.real_count)) == self.real_count for name in self._real()]
        return all(clips + real)

    def table(self) -> list[TableRow]:
        """Return the results of every run."""
        metrics = all_metrics()
        references = {name: self._rows(name, self.real_count) for name in self._real()}
        if self.teacher:
            name = run_name(self.teacher.label, TEACHER_STEPS)
            references[TEACHER] = self._rows(name, self.count)
        return [
            TableRow(contender.label, steps, _results(metrics, rows, references))
            for contender, steps in self._runs()
            if (rows := self._rows(run_name(contender.label, steps), self.count))
        ]

    def _runs(self) -> list[tuple[Contender, int]]:
        teacher = [(self.teacher, TEACHER_STEPS)] if self.teacher else []
        named = [(contender, steps) for contender in self.contenders for steps in contender.steps]
        return list({run_name(run[0].label, run[1]): run for run in [*teacher, *named]}.values())

    def _real(self) -> dict[str, Callable[[Request], EvaluationClip]]:
        return {
            REAL_VIDEO: RealClips("poor").clip,
            REAL_IMAGE: RealStills("image").clip,
            REAL_FLAT: RealStills("flat").clip,
        }

    def _path(self, name: str, part: Part) -> Path:
        return self.folder / "runs" / name / f"{part.number:03}-of-{part.of:03}.jsonl"

    def _rows(self, name: str, count: int) -> list[Row]:
        """Return those of a run's clips that are among the first requests."""
        keys = {request.key for request in requests(count)}
        rows = read_rows(sorted((self.folder / "runs" / name).glob("*.jsonl")))
        return [row for row in rows if row["key"] in keys]


def run_name(label: str, steps: int) -> str:
    """Return the name of a run's folder."""
    return f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', label)}-{steps:02}"


def _shown(
    contender: Contender, steps: int, name: str, clips: ClipSink, request: Request
) -> EvaluationClip:
    clip = contender.make(request, steps)
    clips.show(name, clip)
    return clip


def _results(
    metrics: Sequence[Metric], rows: Sequence[Row], references: Mapping[str, Sequence[Row]]
) -> dict[str, Result]:
    results = {}
    for metric in metrics:
        others = references.get(metric.reference or "", ())
        if metric.reference and not others:
            results[metric.name] = NOTHING
            continue
        seen = observations(rows, metric.observer)
        results[metric.name] = metric.compute(seen, observations(others, metric.observer))
    return results
