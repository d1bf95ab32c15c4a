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
from mcm.evaluation.metric import Metric, Result
from mcm.evaluation.page import page
from mcm.evaluation.suite import Suite, TableRow


def write_report(suite: Suite, gallery: Gallery) -> list[Path]:
    """Write ``report.json``, ``report.md`` and ``report.html`` and return their paths."""
    folder, rows, name = suite.folder, suite.table(), suite.protocol.name
    texts = {
        "report.json": json.dumps(as_dict(rows, name), indent=2) + "\n",
        "report.md": markdown(rows, suite.metrics, name),
        "report.html": page(rows, suite.metrics, gallery.shown()),
    }
    paths = []
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        paths.append(part.replace(folder / name))
    return paths


def as_dict(rows: Sequence[TableRow], protocol: str) -> dict[str, Any]:
    """Return the table JSON-ready; what could not be measured is null."""
    return {
        "protocol": protocol,
        "software": f"mcm {__version__}",
        "runs": [
            {
                "model": row.label,
                "steps": row.steps,
                "results": {name: _finite(result) for name, result in row.results.items()},
            }
            for row in rows
        ],
    }


def _finite(result: Result) -> dict[str, float | None]:
    values = asdict(result)
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def markdown(rows: Sequence[TableRow], metrics: Sequence[Metric], protocol: str) -> str:
    """Return one table per group of metrics, with 95 % intervals."""
    lines = [f"# Evaluation {protocol}", "", "Value and 95 % bootstrap interval."]
    for start in range(0, len(metrics), 4):
        group = metrics[start : start + 4]
        heads = ["model", "steps", *(f"{m.title} {arrow(m)}".strip() for m in group)]
        lines += ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for row in rows:
            cells = [row.label, str(row.steps), *(cell(row.results[m.name]) for m in group)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def arrow(metric: Metric) -> str:
    """Return which way is better."""
    return {"higher": "↑", "lower": "↓", "": ""}[metric.better]


def cell(result: Result) -> str:
    """Return a value with its interval, to three digits; a dash where there is none."""
    if not result.count:
        return "–"
    return f"{result.value:.3g} [{result.low:.3g}, {result.high:.3g}]"
