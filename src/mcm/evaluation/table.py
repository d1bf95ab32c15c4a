"""The table of an evaluation: for each run, every metric with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcm.evaluation.metric import NOTHING, Metric, Result
from mcm.evaluation.runs import Row, observations

REAL_STEPS = 0
"""What stands for the steps of real material."""


@dataclass(frozen=True)
class TableRow:
    """The results of one run.

    Attributes:
        label: The model's name.
        steps: Network steps; 0 for real material.
        results: Value and interval by metric.
        model: The model's embedded name or folder; empty for real material.
        command: What makes this row.
    """

    label: str
    steps: int
    results: dict[str, Result]
    model: str = ""
    command: str = ""

    @property
    def steps_text(self) -> str:
        """The steps as tables show them."""
        return "real" if self.steps == REAL_STEPS else str(self.steps)


def results_of(
    rows: Sequence[Row], metrics: Sequence[Metric], others: Mapping[str, Sequence[Row]]
) -> dict[str, Result]:
    """Return the value of each metric.

    Args:
        rows: What was seen of the run's clips.
        metrics: What to compute.
        others: The runs to compare with by name; a metric whose run is empty, or
            was refused as a whole, has no value.
    """
    results = {}
    for metric in metrics:
        compared = observations(others.get(metric.reference or "", ()), metric.observer)
        if metric.reference is not None and not compared:
            results[metric.name] = NOTHING
            continue
        seen = observations(rows, metric.observer)
        results[metric.name] = metric.compute(seen, compared)
    return results
