"""The page of results in the shape of the paper's tables, from reports of `mcm evaluate`.

    python benchmarks/results.py outputs/evaluation/report.json -o docs/results.md

Several reports of one protocol become one page. Nothing is typed by hand. Every metric has a table:
rows are methods, columns numbers of steps, every value has its 95 % interval; every row's command
follows. Curves are drawn beside the page, in a folder of its name. `--format png` draws pixels
instead of SVG. Where all methods took as many steps there are no curves, and a chapter is one table
whose columns are its metrics.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcm.backbones.json_files import read_json
from mcm.errors import UserError
from mcm.evaluation.markdown import check_folder_of, table_lines
from mcm.evaluation.metric import Result
from mcm.evaluation.report import cell

Run = dict[str, Any]

GROUPS = {
    "Quality of video": ("fvd", "fid_video", "alignment", "clipsim"),
    "Looks of the images": ("fid_image", "fid_flat", "sharpness"),
    "Failures": ("watermark", "near_black", "refused", "concept", "background"),
    "Motion": ("motion", "flow_agreement", "flow_error", "warping_error"),
    "Diversity and speed": ("diversity", "seconds"),
}
"""Chapters by title, each with its metrics; metrics of none make one more."""

MOST_FEW = 8
"""Steps of a few-step method at most; other rows have one value, in a column of its own."""

ROUNDING = 1e-6
"""By how much sums in another order change a value, relative to it."""

FULL = "in full"
"""The column of models at more steps, and of real material."""

STYLES = (("o", "--"), ("s", ":"), ("^", "-."))
"""Marker of a method and dashes of what is in full; a further pair for every ten colours."""

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


def read_reports(paths: Sequence[Path]) -> dict[str, Any]:
    """Return one report of several, real material after all methods.

    Raises:
        UserError: A file is no report, the protocols differ, or a row differs between reports.
    """
    reports = [_read(path) for path in paths]
    whole = reports[0]
    runs: dict[tuple[str, int], Run] = {}
    for path, report in zip(paths, reports, strict=True):
        for fact in ("protocol", "count", "protocol_digest", "judges"):
            told, first = report.get(fact), whole.get(fact)
            if told != first and None not in (told, first):
                raise UserError(
                    f"{path}: {fact} is {told!r}, that of {paths[0]} is {first!r}; "
                    "evaluate all on one protocol"
                )
        for run in report["runs"]:
            place = run["label"], run["steps"]
            kept = runs.get(place, run)
            if not _agree(kept["results"], run["results"]):
                raise UserError(
                    f"{path}: {run['label']} at {run['steps']} steps has other values than in an "
                    "earlier report; give one of them another label"
                )
            measured = {name: found for name, found in kept["results"].items() if _has(found)}
            runs[place] = {**kept, "results": {**kept["results"], **run["results"], **measured}}
    metrics = {metric["name"]: metric for report in reports for metric in report["metrics"]}
    ordered = sorted(runs.values(), key=lambda run: not run["steps"])
    return {**whole, "metrics": metrics, "runs": ordered}


def _read(path: Path) -> dict[str, Any]:
    report = read_json(path, "report.json of `mcm evaluate`")
    if not {"protocol", "count", "metrics", "runs"} <= report.keys():
        raise UserError(f"{path}: no report of `mcm evaluate`, which writes report.json")
    return report


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two reports of one run tell the same; seconds never are."""
    both = [name for name in one if name != "seconds" and _has(one[name]) and _has(other.get(name))]
    return all(
        math.isclose(one[name][fact], other[name][fact], rel_tol=ROUNDING, abs_tol=ROUNDING)
        for name in both
        for fact in ("value", "low", "high")
    )


def page(report: Mapping[str, Any], title: str, command: str, figures: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        report: As :func:`read_reports` gives it.
        title: Its heading.
        command: What makes the page.
        figures: Paths of the curves by table's title.
    """
    lines = [
        f"# {title}",
        "",
        f"<!-- Made by `{command}`: do not edit. -->",
        "",
        f"Protocol `{report['protocol']}`, {report['count']} clips a row, {report['software']}. "
        "Every value has its 95 % bootstrap interval; the best method of each column is bold. "
        f"{FULL.capitalize()} are models at more than {MOST_FEW} steps, and real material. "
        f"The page is made by `{command}`.",
    ]
    for chapter, names in groups_of(report).items():
        lines += ["", f"## {chapter}"]
        if steps_of(report) == 1:
            lines += ["", *side_by_side(report, names)]
        else:
            for name in names:
                lines += ["", f"### {_titled(report['metrics'][name])}", "", *table(report, name)]
        if chapter in figures:
            lines += ["", f"![{chapter} over steps]({figures[chapter]})"]
    commands = [
        (run["label"], str(run["steps"] or "real"), f"`{run['command']}`") for run in report["runs"]
    ]
    lines += ["", "## Commands", "", *table_lines(["method", "steps", "command"], commands)]
    return "\n".join(lines) + "\n"


def groups_of(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the tables that have values, each with its metrics."""
    measured = [
        name
        for name in report["metrics"]
        if any(_has(run["results"].get(name)) for run in report["runs"])
    ]
    named = {name for names in GROUPS.values() for name in names}
    groups = {title: [n for n in names if n in measured] for title, names in GROUPS.items()}
    groups["Further"] = [name for name in measured if name not in named]
    return {title: names for title, names in groups.items() if names}


def steps_of(report: Mapping[str, Any]) -> int:
    """Return how many different numbers of steps the methods took."""
    return len({run["steps"] for run in report["runs"]} - {0})


def side_by_side(report: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the Markdown table of methods by metrics, where all took as many steps."""
    metrics, rows = [report["metrics"][name] for name in names], rows_of(report["runs"])
    column = next(column for row in rows.values() for column in row)
    best = {metric["name"]: _best(rows.values(), metric, column) for metric in metrics}
    cells = {}
    for label, row in rows.items():
        ((place, results),) = row.items()
        if any(_has(results.get(name)) for name in names):
            bold = best if place == column else {}
            cells[label] = [_cell(results.get(name), bold.get(name)) for name in names]
    return _lines([_titled(metric) for metric in metrics], cells)


def table(report: Mapping[str, Any], name: str) -> list[str]:
    """Return one metric's Markdown table: methods by numbers of steps."""
    rows, metric = rows_of(report["runs"]), report["metrics"][name]
    rows = {
        label: row for label, row in rows.items() if any(_has(r.get(name)) for r in row.values())
    }
    wanted = {column for row in rows.values() for column in row}
    columns = [*sorted(wanted - {FULL}, key=int), *(wanted & {FULL})]
    best = {column: _best(rows.values(), metric, column) for column in columns}
    cells = {
        label: [_cell(row.get(column, {}).get(name), best[column]) for column in columns]
        for label, row in rows.items()
    }
    return _lines([_head(column) for column in columns], cells)


def _lines(heads: Sequence[str], cells: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table whose rows are methods."""
    return table_lines(["method", *heads], [(label, *row) for label, row in cells.items()])


def rows_of(runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
    """Return by method the results in each column: steps as text, or :data:`FULL`."""
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        label, steps = run["label"], run["steps"]
        few = 0 < steps <= MOST_FEW
        name = label if few or not steps else f"{label}, {steps} steps"
        rows.setdefault(name, {})[str(steps) if few else FULL] = run["results"]
    return rows


def _head(column: str) -> str:
    return column if column == FULL else f"{column} step{'s' * (column != '1')}"


def _titled(metric: Mapping[str, str]) -> str:
    return f"{metric['title']}{ARROWS[metric['better']]}"


def _has(result: Mapping[str, Any] | None) -> bool:
    return bool(result and result["count"])


def _best(
    rows: Iterable[Mapping[str, Any]], metric: Mapping[str, str], column: str
) -> float | None:
    """Return the best value of a column of few steps; ``None`` where none is better."""
    results = [row[column].get(metric["name"]) for row in rows if column in row]
    values = [result["value"] for result in results if _has(result)]
    if column == FULL or not metric["better"] or not values:
        return None
    return max(values) if metric["better"] == "higher" else min(values)


def _cell(result: Mapping[str, Any] | None, best: float | None) -> str:
    if result is None or not _has(result):
        return "–"
    value, *interval = cell(Result(**result)).split(" ", 1)
    return " ".join([f"**{value}**" if result["value"] == best else value, *interval])


def draw(report: Mapping[str, Any], folder: Path, kind: str) -> dict[str, Path]:
    """Draw the curves of every table and return the files by its title."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "mcm"
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    labels = len(rows_of(report["runs"]))
    for title, names in groups_of(report).items():
        size = (4 * len(names), 3 + 0.22 * math.ceil(labels / len(names)))
        figure, places = pyplot.subplots(
            1, len(names), figsize=size, squeeze=False, layout="constrained"
        )
        for axes, name in zip(places[0], names, strict=True):
            _curves(axes, report, name)
        lines = places[0][0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=len(names))
        files[title] = folder / f"{title.lower().replace(' ', '-')}.{kind}"
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(files[title], dpi=120, metadata=metadata)
        pyplot.close(figure)
    return files


def _curves(axes: Any, report: Mapping[str, Any], name: str) -> None:
    """Draw a metric over steps, with intervals; what is in full is a dashed line across."""
    for number, (label, row) in enumerate(rows_of(report["runs"]).items()):
        colour, marker, dashes = f"C{number % 10}", *STYLES[number // 10 % len(STYLES)]
        found = {column: results.get(name) for column, results in row.items()}
        points = sorted((int(c), r) for c, r in found.items() if c != FULL and _has(r))
        if points:
            values = [result["value"] for _, result in points]
            low = [max(v - r["low"], 0) for v, (_, r) in zip(values, points, strict=True)]
            high = [max(r["high"] - v, 0) for v, (_, r) in zip(values, points, strict=True)]
            steps = [step for step, _ in points]
            axes.errorbar(
                steps, values, [low, high], color=colour, marker=marker, capsize=2, label=label
            )
        elif _has(found.get(FULL)):
            axes.axhline(found[FULL]["value"], color=colour, linestyle=dashes, label=label)
        else:
            line = dashes if FULL in row else "-"
            axes.plot([], [], color=colour, linestyle=line, label=label)
    metric = report["metrics"][name]
    axes.set(title=_titled(metric), xlabel="steps")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path, help="report.json of evaluations")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--title", help="of the page; by default it says how many clips there are")
    parser.add_argument("--format", choices=["svg", "png"], default="svg", help="of the curves")
    words = list(sys.argv[1:] if words is None else words)
    asked = parser.parse_args(words)
    try:
        check_folder_of(asked.output)
        report = read_reports(asked.reports)
    except UserError as error:
        parser.error(str(error))
    folder = asked.output.with_suffix("")
    files = draw(report, folder, asked.format) if steps_of(report) > 1 else {}
    figures = {
        title: file.relative_to(asked.output.parent).as_posix() for title, file in files.items()
    }
    command = shlex.join(["python", "benchmarks/results.py", *words])
    heading = asked.title or f"Results of {report['count']} clips"
    asked.output.write_text(page(report, heading, command, figures), encoding="utf-8")
    print(asked.output)


if __name__ == "__main__":
    main()
