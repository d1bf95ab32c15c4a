"""A whole evaluation: real runs to compare with, every contender at its steps, one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol as Interface

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import TEACHER
from mcm.evaluation.contenders import Contender
from mcm.evaluation.embedded import Request
from mcm.evaluation.metric import NOTHING, Metric, Result
from mcm.evaluation.protocol import Protocol, Reference
from mcm.evaluation.runs import OnClip, Row, observations, observe_all, read_rows

TEACHER_STEPS = 50


@dataclass(frozen=True)
class Part:
    """One share of the work of several processes, counted from 0."""

    number: int = 0
    of: int = 1

    def take(self, asked: Sequence[Request]) -> list[Request]:
        """Return the requests of this part."""
        return list(asked[self.number :: self.of])


class ClipSink(Interface):
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


@dataclass(frozen=True)
class Suite:
    """An evaluation in a folder: run parts of it anywhere, then make its table.

    Attributes:
        folder: Holds ``runs/NAME/PART.jsonl``.
        protocol: What is asked for and measured.
        contenders: Who takes part.
        count: Clips of each run; all of the protocol by default.
        teacher: Whose clips at 50 steps flow is compared with; no such metric without.
    """

    folder: Path
    protocol: Protocol
    contenders: tuple[Contender, ...]
    count: int | None = None
    teacher: Contender | None = None

    def run(self, part: Part, on_clip: Callable[[str], OnClip], clips: ClipSink) -> None:
        """Generate and observe what this part of the evaluation has not yet.

        Args:
            part: Which share of every run.
            on_clip: Gives for the name of a run what is called after each of its clips.
            clips: Is shown every clip with the name of its run.
        """
        metrics, name = self.metrics, self.protocol.name
        for run, real in self._references.items():
            observers = self.protocol.observers([m for m in metrics if m.reference == run])
            asked = part.take(_numbered(real.count))
            path, header = self._path(run, part), {"protocol": name, "model": run}
            observe_all(real.make, asked, observers, path, header, on_clip(run))
        asked, observers = part.take(self._requests), self.protocol.observers(metrics)
        for contender, steps in self._runs():
            run = run_name(contender.label, steps)
            make = partial(self._make, contender, steps, run, clips)
            path, header = self._path(run, part), contender.header(steps, name)
            observe_all(make, asked, observers, path, header, on_clip(run))

    def complete(self) -> bool:
        """Return whether every run has all its clips."""
        wanted = {name: _numbered(real.count) for name, real in self._references.items()}
        wanted |= {run_name(c.label, steps): self._requests for c, steps in self._runs()}
        return all(len(self._rows(name, asked)) == len(asked) for name, asked in wanted.items())

    def table(self) -> list[TableRow]:
        """Return the results of every run."""
        references = {
            name: self._rows(name, _numbered(real.count)) for name, real in self._references.items()
        }
        if self.teacher:
            name = run_name(self.teacher.label, TEACHER_STEPS)
            references[TEACHER] = self._rows(name, self._requests)
        return [
            TableRow(contender.label, steps, _results(self.metrics, rows, references))
            for contender, steps in self._runs()
            if (rows := self._rows(run_name(contender.label, steps), self._requests))
        ]

    @cached_property
    def metrics(self) -> list[Metric]:
        """The protocol's metrics."""
        return self.protocol.metrics()

    @cached_property
    def _requests(self) -> list[Request]:
        return self.protocol.requests(self.count)

    @cached_property
    def _references(self) -> Mapping[str, Reference]:
        return self.protocol.references()

    def _runs(self) -> list[tuple[Contender, int]]:
        teacher = [(self.teacher, TEACHER_STEPS)] if self.teacher else []
        named = [(contender, steps) for contender in self.contenders for steps in contender.steps]
        return list({run_name(run[0].label, run[1]): run for run in [*teacher, *named]}.values())

    def _make(
        self, contender: Contender, steps: int, run: str, clips: ClipSink, request: Request
    ) -> EvaluationClip:
        clip = contender.make(request, steps, self.protocol)
        clips.show(run, clip)
        return clip

    def _path(self, name: str, part: Part) -> Path:
        return self.folder / "runs" / name / f"{part.number:03}-of-{part.of:03}.jsonl"

    def _rows(self, name: str, asked: Sequence[Request]) -> list[Row]:
        """Return those of a run's clips that are asked for."""
        keys = {request.key for request in asked}
        rows = read_rows(sorted((self.folder / "runs" / name).glob("*.jsonl")))
        return [row for row in rows if row["key"] in keys]


def run_name(label: str, steps: int) -> str:
    """Return the name of a run's folder."""
    return f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', label)}-{steps:02}"


def _numbered(count: int) -> list[Request]:
    """Return requests for real material, which is chosen by its number."""
    return [Request(f"{number:05}", "", number) for number in range(count)]


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
