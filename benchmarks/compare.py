"""By how much one method is below another, clip for clip: the ratio of their Fréchet distances.

    python benchmarks/compare.py outputs/evaluation fluent-mcm lcm -o docs/results/mcm-lcm.md
    python benchmarks/compare.py outputs/ablations/evaluation base no-critic --metric fvd fid_image

Both methods make clips of the same prompts, so their intervals in a report, each drawn for itself,
say too little of the difference. Here the same prompts are drawn for both, again and again, and
the ratio of the two distances has a 95 % interval of its own.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mcm.errors import UserError
from mcm.evaluation.frechet import FrechetDistance, features, paired_ratio
from mcm.evaluation.metric import Observations, Result
from mcm.evaluation.protocol import FluentProtocol
from mcm.evaluation.runs import observations, read_rows
from mcm.evaluation.suite import run_name
from mcm.sampling.options import MOST_STEPS

Place = tuple[str, str, int]
"""Another method, a metric and a number of steps."""

METRICS = {m.name: m for m in FluentProtocol().metrics() if isinstance(m, FrechetDistance)}


def ratio(
    folder: Path, metric: FrechetDistance, one: str, other: str, real: Observations
) -> Result:
    """Return how many times as far as the other a run is.

    Args:
        folder: Of the evaluation.
        metric: Whose features and reference are taken.
        one: Name of a run's folder, as ``fluent-mcm-04``.
        other: What it is divided by.
        real: What was seen of the metric's reference.

    Raises:
        UserError: A run has no clips, or both have other prompts.
    """
    first, second = (seen_of(folder, name, metric.observer) for name in (one, other))
    shared = sorted(set(first) & set(second))
    if len(shared) < 2:
        raise UserError(f"{folder}: {one} and {other} share {len(shared)} clips, expected two")
    both = ({key: seen[key] for key in shared} for seen in (first, second))
    return paired_ratio(*(features(seen) for seen in (*both, real)))


@cache
def seen_of(folder: Path, name: str, observer: str) -> Observations:
    """Return what an observer saw of a run.

    Raises:
        UserError: It has no clips.
    """
    rows = read_rows(sorted((folder / "runs" / name).glob("*.jsonl")))
    if not rows:
        raise UserError(f"{folder}: has no run {name!r}; evaluate that model into it first")
    return observations(rows, observer)


def steps_of(folder: Path, labels: Sequence[str]) -> list[int]:
    """Return the numbers of steps at which all of some methods have clips."""
    return [
        steps
        for steps in range(1, MOST_STEPS + 1)
        if all((folder / "runs" / run_name(label, steps)).is_dir() for label in labels)
    ]


def markdown(found: dict[Place, Result], one: str) -> str:
    """Return a table: other methods by metrics and numbers of steps."""
    wanted = {place[1:] for place in found}
    columns = sorted(wanted, key=lambda column: (list(METRICS).index(column[0]), column[1]))
    lines = ["| " + " | ".join([f"{one} against", *(_head(*column) for column in columns)]) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for other in dict.fromkeys(place[0] for place in found):
        cells = [_cell(found.get((other, *column))) for column in columns]
        lines.append("| " + " | ".join([other, *cells]) + " |")
    return "\n".join(lines)


def _head(name: str, steps: int) -> str:
    return f"{METRICS[name].title}, {steps} step{'s' * (steps > 1)}"


def _cell(result: Result | None) -> str:
    if result is None:
        return "–"
    return f"{result.value:.2f} [{result.low:.2f}, {result.high:.2f}]"


def main(words: Sequence[str] | None = None) -> None:
    """Compare one method with others and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of `mcm evaluate`")
    parser.add_argument("one", help="label of the method")
    parser.add_argument("others", nargs="+", help="labels of those that it is compared with")
    parser.add_argument("--metric", choices=list(METRICS), nargs="+", default=["fvd"])
    parser.add_argument("-o", "--output", type=Path, help="file for the table as well")
    words = sys.argv[1:] if words is None else words
    asked = parser.parse_args(words)
    found: dict[Place, Result] = {}
    try:
        for name in asked.metric:
            metric = METRICS[name]
            real = seen_of(asked.folder, str(metric.reference), metric.observer)
            for other in asked.others:
                for steps in steps_of(asked.folder, (asked.one, other)):
                    runs = run_name(asked.one, steps), run_name(other, steps)
                    found[other, name, steps] = ratio(asked.folder, metric, *runs, real)
        if not found:
            raise UserError(f"{asked.folder}: no number of steps that {asked.one!r} shares")
    except UserError as error:
        parser.error(str(error))
    table = markdown(found, asked.one)
    print(table)
    if asked.output is not None:
        clips = next(iter(found.values())).count
        made = f"python benchmarks/compare.py {shlex.join(words)}"
        asked.output.write_text(f"{table}\n\n(`{made}`; {clips} clips a row)\n")


if __name__ == "__main__":
    main()
