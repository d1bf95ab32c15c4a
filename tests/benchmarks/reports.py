"""Made-up reports, in the form of `mcm evaluate`'s."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METRICS = [
    {"name": "fvd", "title": "FVD", "better": "lower"},
    {"name": "motion", "title": "motion fidelity", "better": "higher"},
    {"name": "odd", "title": "an odd one", "better": ""},
    {"name": "alignment", "title": "text alignment", "better": "higher"},
]


def run(label: str, steps: int, model: str = "", **values: float) -> dict[str, Any]:
    nothing = {"value": None, "low": None, "high": None, "count": 0}
    results = {metric["name"]: nothing for metric in METRICS}
    for name, value in values.items():
        results[name] = {"value": value, "low": value - 1, "high": value + 2, "count": 9}
    command = f"mcm evaluate {label}@{steps}"
    return {
        "label": label,
        "model": model,
        "steps": steps,
        "command": command,
        "results": results,
    }


def write(path: Path, runs: list[dict[str, Any]], **facts: Any) -> Path:
    report = {"protocol": "p", "count": 9, "software": "mcm 0", "metrics": METRICS, "runs": runs}
    path.write_text(json.dumps({**report, **facts}))
    return path
