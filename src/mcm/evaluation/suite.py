"""A whole evaluation: real runs to compare with, every contender at its steps, one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from mcm.digests import digest_json
from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import TEACHER
from mcm.evaluation.commands import Command
from mcm.evaluation.contenders import Contender
from mcm.evaluation.embedded import Request
from mcm.evaluation.metric import NOTHING, Metric
from mcm.evaluation.protocol import Protocol, Reference
from mcm.evaluation.runs import RESOLVED, Header, Make, OnClip, Row, observe_all, read_rows
from mcm.evaluation.table import REAL_STEPS, TableRow, results_of
from mcm.safety.guard import Refused

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
class _Run:
    """Clips to make and to observe.

    Attributes:
        name: Of its folder.
        asked: Its clips.
        metrics: What is measured of them.
        header: What identifies it and is known before anything is loaded.
        make: Gives a clip.
        resolve: Gives the rest of the header; may load a model.
        contender: Whose model that is; real material has none.
    """

    name: str
    asked: list[Request]
    metrics: list[Metric]
    header: Header
    make: Make
    resolve: Callable[[], Header] = dict
    contender: Contender | None = None


@dataclass(frozen=True)
class Suite:
    """An evaluation in a folder: run parts of it anywhere, then make its table.

    Attributes:
        folder: Holds ``runs/NAME/PART.jsonl``.
        protocol: What is asked for and measured.
        contenders: Who takes part.
        count: Clips of each run; all of the protocol by default.
        teacher: Whose clips at 50 steps flow is compared with; no such metric without.
        command: Tells how rows are made.
    """

    folder: Path
    protocol: Protocol
    contenders: tuple[Contender, ...]
    count: int | None = None
    teacher: Contender | None = None
    command: Command = field(default_factory=Command)

    def run(self, part: Part, on_clip: Callable[[str], OnClip], clips: ClipSink) -> None:
        """Observe real material, which may be damaged, then generate and observe model by model.

        Args:
            part: Which share of every run.
            on_clip: Gives for the name of a run what is called after each of its clips.
            clips: Is shown every clip of a model with the name of its run.

        Raises:
            UserError: A run's files are of other weights, settings, judges or another protocol;
                told before anything is made, unless only a loaded model can tell.
        """
        runs = self._runs(clips)
        for run in runs:
            self._rows(run)
        for contender, group in groupby(runs, lambda run: run.contender):
            with _named(contender):
                for run in group:
                    self._observe(run, part, on_clip)
            if contender:
                contender.release()

    def complete(self) -> bool:
        """Return whether every run has all its clips."""
        return all(len(self._rows(run)) == len(run.asked) for run in self._runs())

    @property
    def run_names(self) -> list[str]:
        """Names of the models' runs."""
        return [run_name(contender.label, steps) for contender, steps in self._entries]

    def table(self) -> list[TableRow]:
        """Return the results of every run: the models', then real material."""
        others = {name: self._rows(run) for name, run in self._compared_with.items()}
        if self.teacher:
            others[TEACHER] = self._rows(self._run_of(self.teacher, TEACHER_STEPS))
        nothing = dict.fromkeys((metric.name for metric in self.metrics), NOTHING)
        table = []
        for contender, steps in self._entries:
            if rows := self._rows(self._run_of(contender, steps)):
                results = nothing | results_of(rows, self._measured, others)
                command = self.command.of(contender.text, steps)
                table.append(TableRow(contender.label, steps, results, contender.model, command))
        for name, run in self._shown.items():
            if rows := self._rows(run):
                results = nothing | results_of(rows, run.metrics, others)
                table.append(TableRow(name, REAL_STEPS, results, command=str(self.command)))
        return table

    @cached_property
    def metrics(self) -> list[Metric]:
        """The protocol's metrics."""
        return self.protocol.metrics()

    @cached_property
    def missing(self) -> dict[str, str]:
        """Titles of the metrics that cannot be measured, and why."""
        missing = self.protocol.missing()
        return {m.title: missing[m.observer] for m in self.metrics if m.observer in missing}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the protocol asks for and compares with, JSON-ready."""
        return {
            **self._asked,
            "count": len(self._requests),
            "references": {name: real.count for name, real in self._references.items()},
            "metrics": [metric.name for metric in self._measured],
            "requests": [
                {"key": request.key, "prompt": request.prompt, "seed": request.seed}
                for request in self._requests
            ],
        }

    @cached_property
    def _asked(self) -> dict[str, Any]:
        """The protocol's facts, among them digests of its networks' files."""
        return self.protocol.facts()

    @cached_property
    def _measured(self) -> list[Metric]:
        return [metric for metric in self.metrics if metric.title not in self.missing]

    @cached_property
    def _requests(self) -> list[Request]:
        return self.protocol.requests(self.count)

    @cached_property
    def _references(self) -> Mapping[str, Reference]:
        return self.protocol.references()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What every run of this evaluation has in common."""
        return {
            "protocol": self.protocol.name,
            "protocol_digest": digest_json({**self._asked, "judges": None}),
            "judges": self._asked["judges"],
        }

    @cached_property
    def _compared_with(self) -> dict[str, _Run]:
        """Runs of real material, seen only by what compares with them."""
        runs = {}
        for name, real in self._references.items():
            readers = [metric for metric in self._measured if metric.reference == name]
            if readers:
                header = self._header_of(name, real)
                runs[name] = _Run(name, _numbered(real.count), readers, header, real.make)
        return runs

    @cached_property
    def _shown(self) -> dict[str, _Run]:
        """Runs of real material as rows of the table, beside the models'."""
        runs = {}
        for name, real in self._references.items():
            metrics = [m for m in self._measured if m.name in real.shown and m.reference != name]
            if metrics:
                header = {**self._header_of(name, real), "steps": REAL_STEPS}
                asked = self._requests[: real.count]
                runs[name] = _Run(run_name(name, REAL_STEPS), asked, metrics, header, real.make)
        return runs

    def _header_of(self, name: str, real: Reference) -> Header:
        """Return what identifies a run of real material."""
        weights = {"weights": real.weights} if real.weights else {}
        return {**self.identity, "model": name, **weights}

    @cached_property
    def _entries(self) -> list[tuple[Contender, int]]:
        teacher = [(self.teacher, TEACHER_STEPS)] if self.teacher else []
        named = [(contender, steps) for contender in self.contenders for steps in contender.steps]
        return list({run_name(run[0].label, run[1]): run for run in [*teacher, *named]}.values())

    def _runs(self, clips: ClipSink | None = None) -> list[_Run]:
        models = [self._run_of(contender, steps, clips) for contender, steps in self._entries]
        return [*self._compared_with.values(), *self._shown.values(), *models]

    def _run_of(self, contender: Contender, steps: int, clips: ClipSink | None = None) -> _Run:
        name = run_name(contender.label, steps)

        def make(request: Request) -> EvaluationClip:
            clip = contender.make(request, steps, self.protocol)
            if clips:
                clips.show(name, clip)
            return clip

        header = {**self.identity, **contender.header(steps)}
        if contender.asked_format:
            header[RESOLVED] = contender.asked_format
        resolve = partial(contender.resolved, steps, self.protocol)
        return _Run(name, self._requests, self._measured, header, make, resolve, contender)

    def _observe(self, run: _Run, part: Part, on_clip: Callable[[str], OnClip]) -> None:
        asked, report = part.take(run.asked), on_clip(run.name)
        there = {row["key"] for row in self._rows(run)}
        if all(request.key in there for request in asked):
            for number, _ in enumerate(asked, 1):
                report(number, len(asked))
            return
        path = self.folder / "runs" / run.name / f"{part.number:03}-of-{part.of:03}.jsonl"
        header = {**run.header, RESOLVED: run.resolve()}
        observers = self.protocol.observers(run.metrics)
        observe_all(run.make, asked, observers, path, header, report, self._files(run))

    def _files(self, run: _Run) -> list[Path]:
        return sorted((self.folder / "runs" / run.name).glob("*.jsonl"))

    def _rows(self, run: _Run) -> list[Row]:
        """Return those of a run's clips that are asked for."""
        keys = {request.key for request in run.asked}
        return [row for row in read_rows(self._files(run), run.header) if row["key"] in keys]


@contextmanager
def _named(contender: Contender | None) -> Iterator[None]:
    """Say whose clips could not be made."""
    try:
        yield
    except UserError as error:
        if contender is None or isinstance(error, Refused):
            raise
        raise UserError(f"{contender.text}: {error}") from None


def run_name(label: str, steps: int) -> str:
    """Return the name of a run's folder."""
    return f"{re.sub(r'[^A-Za-z0-9._=-]+', '-', label)}-{steps:02}"


def _numbered(count: int) -> list[Request]:
    """Return requests for real material, which is chosen by its number."""
    return [Request(f"{number:05}", "", number) for number in range(count)]
