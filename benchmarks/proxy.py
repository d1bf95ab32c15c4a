"""How well the proxy of a run foretells the evaluation: correlations over students.

    python benchmarks/proxy.py outputs/ablations/* --report outputs/ablations/evaluation/report.json

A run folder is one of `mcm distill` with `trainer.proxy_every`: its `log.csv` has the proxy, and
each of its students that the reports have a row of (`student`, `best`, or any folder inside) is one
point: the proxy of the student's step against the final metric. Printed are Spearman's rank
correlation and Pearson's, for every proxy value and metric; three students at least are needed.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcm.backbones.json_files import read_json
from mcm.errors import UserError
from mcm.evaluation.markdown import table_lines

PREFIX = "proxy/"
FEWEST = 3


@dataclass(frozen=True)
class Student:
    """One point.

    Attributes:
        folder: Of the student.
        step: Of its training.
        proxy: What the log says of that step, by name.
        final: The values of its row, by metric.
    """

    folder: Path
    step: int
    proxy: Mapping[str, float]
    final: Mapping[str, float]


def proxies(run: Path) -> dict[int, dict[str, float]]:
    """Return the proxy's values by step.

    Raises:
        UserError: The log is missing or has none.
    """
    log = run / "log.csv"
    if not log.is_file():
        raise UserError(f"{run}: no log.csv; expected the output folder of `mcm distill`")
    found: dict[int, dict[str, float]] = {}
    with log.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["value"] and row["name"].startswith(PREFIX):  # a killed run may leave half a row
                values = found.setdefault(int(row["step"]), {})
                values[row["name"].removeprefix(PREFIX)] = float(row["value"])
    if not found:
        raise UserError(f"{log}: has no {PREFIX} rows; distil with trainer.proxy_every")
    return found


def students(runs: Sequence[Path], reports: Sequence[Path], steps: int) -> list[Student]:
    """Return every student of the runs that a report has a row of at some steps, each once."""
    logs = {run.resolve(): proxies(run) for run in runs}
    found: dict[Path, Student] = {}
    for report in reports:
        for row in read_json(report, "a report of `mcm evaluate`").get("runs", []):
            folder = Path(row["model"]).resolve()
            run = next((run for run in logs if run in folder.parents), None)
            if run is not None and row["steps"] == steps:
                found.setdefault(folder, _student(folder, logs[run], row["results"]))
    return list(found.values())


def _student(folder: Path, log: Mapping[int, dict[str, float]], results: Any) -> Student:
    """Return a point; the proxy is that of the student's step, or the last before it."""
    card = read_json(folder / "mcm.json", "the notes of a student")
    step = int(card["training_steps"])
    before = [known for known in log if known <= step]
    if not before:
        raise UserError(f"{folder}: of step {step}, and the proxy was first measured after that")
    final = {name: result["value"] for name, result in results.items() if result["count"]}
    return Student(folder, step, log[max(before)], final)


def correlations(points: Sequence[Student]) -> dict[tuple[str, str], tuple[float, float, int]]:
    """Return Spearman's ρ, Pearson's r and the number of students by proxy and metric."""
    from scipy.stats import pearsonr, spearmanr

    names = dict.fromkeys(name for point in points for name in point.proxy)
    metrics = dict.fromkeys(name for point in points for name in point.final)
    found = {}
    for proxy, metric in ((a, b) for a in names for b in metrics):
        pairs = [
            (point.proxy[proxy], point.final[metric])
            for point in points
            if proxy in point.proxy and metric in point.final
        ]
        first, second = ({pair[side] for pair in pairs} for side in (0, 1))
        if len(pairs) >= FEWEST and len(first) > 1 and len(second) > 1:
            x, y = zip(*pairs, strict=True)
            found[proxy, metric] = spearmanr(x, y)[0], pearsonr(x, y)[0], len(pairs)
    return found


def markdown(points: Sequence[Student]) -> str:
    """Return a table: proxy values by metrics, ρ (r, n)."""
    found = correlations(points)
    names = dict.fromkeys(proxy for proxy, _ in found)
    rows = [
        (metric, *(_cell(found.get((name, metric))) for name in names))
        for metric in dict.fromkeys(metric for _, metric in found)
    ]
    return "\n".join(table_lines(["metric", *(f"proxy {name}" for name in names)], rows))


def _cell(found: tuple[float, float, int] | None) -> str:
    if found is None or not math.isfinite(found[0]):
        return "–"
    return f"{found[0]:+.2f} (r {found[1]:+.2f}, n {found[2]})"


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="output folders of `mcm distill`")
    parser.add_argument("--report", nargs="+", type=Path, required=True, help="report.json files")
    parser.add_argument("--steps", type=int, default=4, help="of the rows to compare with")
    asked = parser.parse_args(words)
    runs = [run for run in asked.runs if (run / "log.csv").is_file()]
    try:
        points = students(runs, asked.report, asked.steps)
        if len(points) < FEWEST:
            raise UserError(
                f"found {len(points)} students with a proxy and a row at {asked.steps} steps, "
                f"expected {FEWEST} at least"
            )
    except UserError as error:
        parser.error(str(error))
    print(f"{len(points)} students at {asked.steps} steps; Spearman's ρ (Pearson's r, students)\n")
    print(markdown(points))


if __name__ == "__main__":
    main()
