r"""By how much one method is below another, clip for clip: the ratio of their Fréchet distances.

    python benchmarks/compare.py outputs/evaluation fluent-mcm lcm -o docs/results/mcm-lcm.md
    python benchmarks/compare.py outputs/ablations/evaluation base no-critic real-1 --seeds 0 1 2 \
        --metric fvd fid_image

Both methods make clips of the same prompts, so their intervals in a report, each drawn for itself,
say too little of the difference. Here the same prompts are drawn for both, again and again, and
the ratio of the two distances has a 95 % interval of its own. With `--seeds` each method is
compared with the one of the same seed of training, as `benchmarks/ablations.py` calls them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

from mcm.backbones.json_files import read_json
from mcm.errors import UserError
from mcm.evaluation.frechet import FrechetDistance, features, paired_ratio
from mcm.evaluation.list_protocol import DISTANCES
from mcm.evaluation.markdown import check_folder_of, table_lines
from mcm.evaluation.metric import Observations, Result
from mcm.evaluation.protocol import FluentProtocol
from mcm.evaluation.runs import header_of, observations, read_rows
from mcm.evaluation.suite import run_name
from mcm.sampling.options import MOST_STEPS

Place = tuple[str, str, int]
"""Another method, a metric and a number of steps."""

METRICS = [m for m in (*FluentProtocol().metrics(), *DISTANCES) if isinstance(m, FrechetDistance)]
"""Distances of the embedded world, and those of protocols of one's own."""

SAME = ("protocol", "protocol_digest", "judges")
"""What runs must have in common to be compared."""


def metrics_of(folder: Path) -> dict[str, FrechetDistance]:
    """Return by name the distances that an evaluation's real material allows.

    Raises:
        UserError: It has none.
    """
    there = [m for m in METRICS if (folder / "runs" / str(m.reference)).is_dir()]
    if not there:
        raise UserError(f"{folder}: has no runs of real material; expected one of `mcm evaluate`")
    return {metric.name: metric for metric in reversed(there)}


def ratio(folder: Path, metric: FrechetDistance, one: str, other: str) -> Result:
    """Return how many times as far as the other a run is.

    Args:
        folder: Of the evaluation.
        metric: Whose features and reference are taken.
        one: Name of a run's folder, as ``fluent-mcm-04``.
        other: What it is divided by.

    Raises:
        UserError: A run has no clips, was judged otherwise than the reference, or both have other
            prompts.
    """
    names = (one, other, str(metric.reference))
    first, second, real = (seen_of(folder, name, metric) for name in names)
    shared = sorted(set(first) & set(second))
    if len(shared) < 2:
        raise UserError(f"{folder}: {one} and {other} share {len(shared)} clips, expected two")
    both = ({key: seen[key] for key in shared} for seen in (first, second))
    return paired_ratio(*(features(seen) for seen in (*both, real)))


@cache
def seen_of(folder: Path, name: str, metric: FrechetDistance) -> Observations:
    """Return what a metric's observer saw of a run.

    Raises:
        UserError: It has no clips, or was judged otherwise than the metric's reference.
    """
    reference = header_of(_files(folder, str(metric.reference)))
    rows = read_rows(_files(folder, name), {fact: reference.get(fact) for fact in SAME})
    if not rows:
        raise UserError(f"{folder}: has no run {name!r}; evaluate that model into it first")
    if name == metric.reference and len(rows) < (whole := _references(folder).get(name, 0)):
        raise UserError(
            f"{folder}: {name} has {len(rows)} of {whole} clips; run the evaluation to its end"
        )
    return observations(rows, metric.observer)


def _references(folder: Path) -> dict[str, int]:
    """Return how many clips of real material a finished evaluation has, by run."""
    found = read_json(folder / "protocol.json", "what `mcm evaluate` writes at its end")
    return dict(found["references"])


def _files(folder: Path, run: str) -> list[Path]:
    return sorted((folder / "runs" / run).glob("*.jsonl"))


def steps_of(folder: Path, labels: Sequence[str]) -> list[int]:
    """Return the numbers of steps at which all of some methods have clips."""
    return [
        steps
        for steps in range(1, MOST_STEPS + 1)
        if all((folder / "runs" / run_name(label, steps)).is_dir() for label in labels)
    ]


def markdown(found: dict[Place, Result], one: str) -> str:
    """Return a table: other methods by metrics and numbers of steps."""
    titles = {metric.name: metric.title for metric in METRICS}
    wanted = {place[1:] for place in found}
    columns = sorted(wanted, key=lambda column: (list(titles).index(column[0]), column[1]))
    heads = [f"{titles[name]}, {steps} step{'s' * (steps > 1)}" for name, steps in columns]
    rows = [
        (other, *(_cell(found.get((other, *column))) for column in columns))
        for other in dict.fromkeys(place[0] for place in found)
    ]
    return "\n".join(table_lines([f"{one} against", *heads], rows))


def compare(
    folder: Path, one: str, others: Sequence[str], names: Sequence[str]
) -> dict[Place, Result]:
    """Compare one method with others at every number of steps that both have.

    Args:
        folder: Of the evaluation.
        one: Label of the method.
        others: Labels of those that it is compared with.
        names: Of the distances.

    Raises:
        UserError: Two share no number of steps, or the evaluation has no such distance.
    """
    metrics, found = metrics_of(folder), dict[Place, Result]()
    for name, other in product(names, others):
        if name not in metrics:
            raise UserError(f"--metric: {folder} has no {name!r}, only {', '.join(metrics)}")
        shared = steps_of(folder, (one, other))
        if not shared:
            there = ", ".join(sorted(path.name for path in (folder / "runs").iterdir()))
            raise UserError(
                f"{folder}: {one!r} and {other!r} share no number of steps; its runs, label and "
                f"steps: {there}"
            )
        for steps in shared:
            runs = run_name(one, steps), run_name(other, steps)
            found[other, name, steps] = ratio(folder, metrics[name], *runs)
    return found


def compare_seeds(
    folder: Path, one: str, others: Sequence[str], names: Sequence[str], seeds: Sequence[int]
) -> dict[Place, Result]:
    """Compare ``LABEL seed N`` of one method and of others, seed by seed; as `compare` else."""
    found: dict[Place, Result] = {}
    for other, seed in product(others, seeds):
        found |= compare(folder, f"{one} seed {seed}", [f"{other} seed {seed}"], names)
    return found


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
    choices = list(dict.fromkeys(metric.name for metric in METRICS))
    parser.add_argument("--metric", choices=choices, nargs="+", default=["fvd"])
    parser.add_argument("--seeds", type=int, nargs="+", help="of training, in the labels' ends")
    parser.add_argument("-o", "--output", type=Path, help="file for the table as well")
    words = sys.argv[1:] if words is None else words
    asked = parser.parse_args(words)
    try:
        if asked.output is not None:
            check_folder_of(asked.output)
        what = asked.folder, asked.one, asked.others, asked.metric
        found = compare_seeds(*what, asked.seeds) if asked.seeds else compare(*what)
    except UserError as error:
        parser.error(str(error))
    table = markdown(found, asked.one)
    print(table)
    if asked.output is not None:
        counts = sorted({result.count for result in found.values()})
        clips = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        made = f"python benchmarks/compare.py {shlex.join(words)}"
        asked.output.write_text(f"{table}\n\n(`{made}`; {clips} clips a value)\n")


if __name__ == "__main__":
    main()
