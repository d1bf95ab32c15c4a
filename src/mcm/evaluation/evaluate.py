"""The work of `mcm evaluate`: check what was asked, run it with progress, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mcm.devices import pick_device, pick_dtype
from mcm.errors import UserError
from mcm.evaluation.checks import (
    check_amounts,
    check_labels,
    check_prompts,
    check_some,
    parse_teacher,
    tell_few,
    tell_missing,
)
from mcm.evaluation.commands import Command
from mcm.evaluation.contenders import parse_contender, parse_steps
from mcm.evaluation.gallery import Gallery
from mcm.evaluation.list_protocol import ListProtocol
from mcm.evaluation.networks import Judges
from mcm.evaluation.protocol import FluentProtocol, Protocol
from mcm.evaluation.report import write_report
from mcm.evaluation.runs import OnClip
from mcm.evaluation.suite import Part, Suite
from mcm.evaluation.table import TableRow
from mcm.progress import Bar, progress

TEACHER = "fluent"
REAL = 2252
"""Real clips, and stills of each domain, that the embedded world's protocol compares with."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        rows: One for each model and number of steps, as ``rows[0].results["fvd"].value``. Empty
            while other parts of the work are missing.
        files: The report, JSON, Markdown and a page, and the protocol.
    """

    rows: list[TableRow]
    files: list[Path]


def evaluate_models(
    models: Sequence[str],
    output: Path,
    steps: str = "1,2,4,8",
    teacher: str | None = TEACHER,
    count: int | None = None,
    real: int = REAL,
    protocol: Path | None = None,
    shown: int = 8,
    part: tuple[int, int] = (0, 1),
    judges: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Evaluation:
    """Evaluate models, or this process's part of it, and write the report when all is there.

    Args:
        models: As :func:`mcm.evaluation.contenders.parse_contender` reads them.
        output: Folder of the evaluation; what it holds is not done again.
        steps: Numbers of steps of models that name none, as ``1,2,4,8``.
        teacher: Model whose clips at 50 steps are the measure of motion; ``None`` for none. Another
            protocol has one of its own, or none.
        count: Clips of a run; by default one for each evaluation combination.
        real: Real clips, and stills of each domain, of the embedded world to compare with.
        protocol: YAML of another protocol than the embedded world's.
        shown: Prompts whose clips the page shows.
        part: Which part of the work, and of how many.
        judges: Folder of trained networks of the embedded world's judges; those that are not in
            it are the package's.
        device: Where the models run.
        dtype: Number format of their weights.

    Returns:
        The table and the files of the report; both empty while other parts are missing.

    Raises:
        UserError: A model, its options, its steps, a prompt or the part cannot be, or the folder
            holds runs of other weights, settings, judges or another protocol.

    Warns:
        ModelWarning: Metrics cannot be measured, as a judge's network is not there.
    """
    check_some(models)
    check_amounts(part, count, real)
    pick_dtype(dtype, pick_device(device))
    named = [parse_contender(text, parse_steps(steps), device, dtype) for text in models]
    master = parse_teacher(teacher, device, dtype)
    chosen = _protocol(protocol, real, judges, teacher)
    if protocol:
        check_prompts(chosen.requests(count))
    check_labels(named, master, chosen.references())
    words = _words(output, teacher, count, real, protocol, judges, device, dtype)
    command = Command(tuple(one.with_steps for one in named), words)
    suite = Suite(output, chosen, tuple(named), count, master, command)
    tell_missing(suite)
    tell_few(suite)
    keys = tuple(request.key for request in chosen.requests(count)[:shown])
    return _evaluated(suite, Part(*part), Gallery(output, keys, chosen.fps))


def _evaluated(suite: Suite, part: Part, gallery: Gallery) -> Evaluation:
    """Run a part with progress; write the report when all parts are there."""
    with ExitStack() as stack:
        suite.run(part, lambda name: _bar_of(name, stack), gallery)
    if not suite.complete():
        return Evaluation([], [])
    rows = suite.table()
    return Evaluation(rows, write_report(suite, rows, gallery))


def _words(
    output: Path,
    teacher: str | None,
    count: int | None,
    real: int,
    protocol: Path | None,
    judges: Path | None,
    device: str,
    dtype: str,
) -> tuple[str, ...]:
    """Return the options of the command line that make the same evaluation."""
    options = {
        "--output": output,
        "--teacher": None if teacher == TEACHER else teacher or "",
        "--count": count,
        "--real": None if real == REAL else real,
        "--protocol": protocol,
        "--judges": judges,
        "--device": None if device == "auto" else device,
        "--dtype": None if dtype == "auto" else dtype,
    }
    given = {name: str(value) for name, value in options.items() if value is not None}
    return tuple(word for pair in given.items() for word in pair)


def _protocol(path: Path | None, real: int, judges: Path | None, teacher: str | None) -> Protocol:
    if path is None:
        return FluentProtocol(real, Judges(judges))
    if teacher == TEACHER:
        raise UserError(
            f"teacher: got {TEACHER}, the embedded world's, by whose motion models of {path} "
            "would be judged; name theirs, or give --teacher '' to leave that out"
        )
    if real != REAL:
        raise UserError(
            f"real: {real}: a protocol of one's own says it itself; write it into {path} as "
            f"`real: {real}`"
        )
    if judges is not None:
        raise UserError(
            f"judges: {judges}: a protocol of one's own names its networks itself; leave out one "
            "of judges and protocol"
        )
    return ListProtocol.load(path)


def _bar_of(name: str, stack: ExitStack) -> OnClip:
    """Return what shows the progress of one run; the bar of the run before is closed."""
    stack.close()
    bars: list[Bar] = []

    def on_clip(done: int, of: int) -> None:
        if not bars:
            bars.append(stack.enter_context(progress(name, of)))
        bars[0].advance()

    return on_clip
