"""The report of an evaluation: JSON for programs, Markdown and a web page for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcm import __version__
from mcm.evaluation.gallery import Gallery
from mcm.evaluation.markdown import table_lines
from mcm.evaluation.metric import Metric, Result, digits, titled
from mcm.evaluation.page import page
from mcm.evaluation.suite import Suite
from mcm.evaluation.table import TableRow


def write_report(suite: Suite, rows: Sequence[TableRow], gallery: Gallery) -> list[Path]:
    """Write the report and the protocol beside it, and return the paths.

    Args:
        suite: The evaluation.
        rows: Its table.
        gallery: Its clips to look at.

    Returns:
        ``report.json``, ``report.md``, ``report.html`` and ``protocol.json``: prompts, seeds,
        clip format, digests of the judges, numbers of clips.
    """
    protocol = {**suite.facts, "software": _software()}
    texts = {
        "report.json": json.dumps(as_dict(suite, rows), indent=2) + "\n",
        "report.md": markdown(suite, rows),
        "report.html": page(rows, suite.metrics, gallery.shown(suite.run_names), _head(suite)),
        "protocol.json": json.dumps(protocol, indent=2, ensure_ascii=False) + "\n",
    }
    paths = []
    for name, text in texts.items():
        part = suite.folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        paths.append(part.replace(suite.folder / name))
    return paths


def as_dict(suite: Suite, rows: Sequence[TableRow]) -> dict[str, Any]:
    """Return the table JSON-ready; what could not be measured is null."""
    return {
        "protocol": suite.protocol.name,
        "protocol_digest": suite.identity["protocol_digest"],
        "judges": suite.identity["judges"],
        "count": suite.facts["count"],
        "software": _software(),
        "command": str(suite.command),
        "metrics": [{"name": m.name, "title": m.title, "better": m.better} for m in suite.metrics],
        "missing": suite.missing,
        "runs": [
            {
                "label": row.label,
                "model": row.model,
                "steps": row.steps,
                "command": row.command,
                "results": {name: _finite(result) for name, result in row.results.items()},
            }
            for row in rows
        ],
    }


def _software() -> str:
    return f"mcm {__version__}"


def _finite(result: Result) -> dict[str, float | None]:
    values = asdict(result)
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def markdown(suite: Suite, rows: Sequence[TableRow]) -> str:
    """Return one table per group of metrics with 95 % intervals, and the command of each row."""
    title, *told = _head(suite)
    lines = [f"# {title}", *(line for text in told for line in ("", text))]
    for start in range(0, len(suite.metrics), 4):
        lines += _group(rows, suite.metrics[start : start + 4])
    commands = [(row.label, row.steps_text, f"`{row.command}`") for row in rows]
    lines += ["", "## Commands", "", *table_lines(["model", "steps", "command"], commands)]
    return "\n".join(lines) + "\n"


def _head(suite: Suite) -> list[str]:
    """Return the title of a report, and what was measured of what and what was not."""
    lines = [f"Evaluation {suite.protocol.name}", _measured(suite)]
    for why in dict.fromkeys(suite.missing.values()):
        titles = ", ".join(title for title, other in suite.missing.items() if other == why)
        lines.append(f"Not measured, {why}: {titles}.")
    return lines


def _measured(suite: Suite) -> str:
    facts = suite.facts
    size = "x".join(map(str, facts["size"])) if facts["size"] else "each model's size"
    frames = facts["frames"] or "each model's number of"
    return (
        f"Value and 95 % bootstrap interval of {facts['count']} clips: {frames} frames, {size}, "
        f"{facts['fps']} frames a second; prompts, seeds and judges are in `protocol.json`."
    )


def _group(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> list[str]:
    heads = ["model", "steps", *map(titled, metrics)]
    cells = [
        (row.label, row.steps_text, *(cell(row.results[m.name]) for m in metrics)) for row in rows
    ]
    return ["", *table_lines(heads, cells)]


def cell(result: Result) -> str:
    """Return a value with its interval, to three digits; a dash where there is none."""
    if not result.count:
        return "–"
    return f"{digits(result.value)} [{digits(result.low)}, {digits(result.high)}]"
