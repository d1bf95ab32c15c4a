"""The work of `mcm evaluate`: check what was asked, run it with progress, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mcm.errors import UserError
from mcm.evaluation.contenders import Contender, parse_contender, parse_steps
from mcm.evaluation.gallery import Gallery
from mcm.evaluation.list_protocol import ListProtocol
from mcm.evaluation.protocol import FluentProtocol
from mcm.evaluation.report import write_report
from mcm.evaluation.runs import OnClip
from mcm.evaluation.suite import TEACHER_STEPS, Part, Suite, TableRow
from mcm.progress import Bar, progress


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        rows: One for each model and number of steps, as ``rows[0].results["fvd"].value``. Empty
            while other parts of the work are missing.
        files: The report: JSON, Markdown and a page.
    """

    rows: list[TableRow]
    files: list[Path]


def evaluate_models(
    models: Sequence[str],
    output: Path,
    steps: str = "1,2,4,8",
    teacher: str | None = "fluent",
    count: int | None = None,
    real: int = 2252,
    protocol: Path | None = None,
    shown: int = 8,
    part: tuple[int, int] = (0, 1),
) -> Evaluation:
    """Evaluate models, or this process's part of it, and write the report when all is there.

    Args:
        models: As :func:`mcm.evaluation.contenders.parse_contender` reads them.
        output: Folder of the evaluation; what it holds is not done again.
        steps: Numbers of steps of models that name none, as ``1,2,4,8``.
        teacher: Model whose clips at 50 steps are the measure of motion; ``None`` for none.
        count: Clips of a run; by default one for each evaluation combination.
        real: Real clips, and stills of each domain, of the embedded world to compare with.
        protocol: YAML of another protocol than the embedded world's.
        shown: Prompts whose clips the page shows.
        part: Which part of the work, and of how many.

    Returns:
        The table and the files of the report; both empty while other parts are missing.

    Raises:
        UserError: A model, its options, its steps or the part cannot be, or the folder holds
            runs of other weights.
    """
    number, of = part
    if number >= of:
        raise UserError(f"part: got {number} of {of} parts, expected 0 to {of - 1}")
    contenders = [parse_contender(text, parse_steps(steps)) for text in models]
    _check_labels(contenders)
    master = parse_contender(teacher, (TEACHER_STEPS,)) if teacher else None
    chosen = ListProtocol.load(protocol) if protocol else FluentProtocol(real)
    keys = tuple(request.key for request in chosen.requests(count)[:shown])
    suite = Suite(output, chosen, tuple(contenders), count, master)
    gallery = Gallery(output, keys, chosen.fps)
    with ExitStack() as stack:
        suite.run(Part(number, of), lambda name: _bar_of(name, stack), gallery)
    if not suite.complete():
        return Evaluation([], [])
    return Evaluation(suite.table(), write_report(suite, gallery))


def _check_labels(contenders: Sequence[Contender]) -> None:
    labels = [contender.label for contender in contenders]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise UserError(f"models: two are called {twice!r}; give one of them :label=another")


def _bar_of(name: str, stack: ExitStack) -> OnClip:
    """Return what shows the progress of one run; the bar of the run before is closed."""
    stack.close()
    bars: list[Bar] = []

    def on_clip(done: int, of: int) -> None:
        if not bars:
            bars.append(stack.enter_context(progress(name, of)))
        bars[0].advance()

    return on_clip
