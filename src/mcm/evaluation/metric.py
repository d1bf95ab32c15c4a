"""What every metric is: an observer sees clips one by one, a metric makes a number of what it saw.

An observation is JSON-ready, so a run is a file of observations by clip key: parts that ran
anywhere merge as dictionaries do, and a clip seen twice counts once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip

Observation = dict[str, Any]
"""What an observer saw in one clip: numbers, words, packed arrays; JSON-ready."""

Observations = Mapping[str, Observation]
"""Observations of one observer by the key of the clip."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Result:
    """A measured value with its 95 % bootstrap interval.

    Attributes:
        value: The value.
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Number of clips.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.count})"


def digits(value: float) -> str:
    """Return a number to three digits, without an exponent where it is large."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


NOTHING = Result(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True)
class Score:
    """What is said of one clip: a number, and in words what was seen."""

    value: float
    seen: str = ""


class Observer(Protocol):
    """Sees one clip at a time; several metrics may use what one observer saw."""

    @property
    def name(self) -> str:
        """Unique among observers."""

    def observe(self, clip: EvaluationClip) -> Observation:
        """Return what is to be kept of a clip."""


class Metric(ABC):
    """One measure of a set of clips.

    Attributes:
        name: Unique among metrics.
        title: As in tables, with unit.
        better: Which way is better; empty when neither is.
        observer: Name of the observer that it reads.
        reference: Name of the run that it compares with, or ``None``.
    """

    name: str
    title: str
    better: Literal["higher", "lower", ""] = "higher"
    observer: str
    reference: str | None = None

    @abstractmethod
    def compute(self, seen: Observations, reference: Observations | None = None) -> Result:
        """Return the value with its interval.

        Args:
            seen: Observations of the clips to measure.
            reference: Those of the run to compare with; only where :attr:`reference` names one.
        """


class MeanMetric(Metric):
    """The mean of one number per clip; it is its own observer unless it says otherwise."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in vars(cls) and "observer" not in vars(cls):
            cls.observer = cls.name

    def score(self, clip: EvaluationClip) -> Score:
        """Judge one clip."""
        raise TypeError(f"{type(self).__name__} reads what {self.observer!r} saw")

    def observe(self, clip: EvaluationClip) -> Observation:
        """Return the score JSON-ready; a value that is not finite is null."""
        score = self.score(clip)
        value = round(score.value, 6) if np.isfinite(score.value) else None
        return {"value": value, **({"seen": score.seen} if score.seen else {})}

    def value(self, seen: Observation, reference: Observation | None = None) -> float:
        """Return the number of one clip; not finite where there is none."""
        number = seen["value"]
        return float("nan") if number is None else float(number)

    def compute(self, seen: Observations, reference: Observations | None = None) -> Result:
        """Return the mean over the clips, or over those that the reference has as well."""
        if self.reference is None:
            values = [self.value(seen[key]) for key in sorted(seen)]
        else:
            others = needed(self, reference)
            shared = sorted(set(seen) & set(others))
            values = [self.value(seen[key], others[key]) for key in shared]
        return bootstrap_mean(np.array(values, dtype=np.float64))


def titled(metric: Metric) -> str:
    """Return a metric's title, with an arrow the way that is better."""
    return metric.title + {"higher": " ↑", "lower": " ↓", "": ""}[metric.better]


def needed(metric: Metric, reference: Observations | None) -> Observations:
    """Return the reference's observations.

    Raises:
        UserError: There are none.
    """
    if not reference:
        raise UserError(
            f"metric {metric.name!r}: compares with run {metric.reference!r}, which has no clips"
        )
    return reference


def bootstrap_mean(value_n: NDArray[np.float64], seed: int = 0) -> Result:
    """Return the mean with the 2.5 % and 97.5 % quantiles of means of resampled clips.

    Values that are not finite count as missing. Efron, *Bootstrap Methods: Another Look at
    the Jackknife*, 1979.
    """
    value_n = value_n[np.isfinite(value_n)]
    if not len(value_n):
        return NOTHING
    rng = np.random.default_rng(seed)
    index = rng.integers(len(value_n), size=(_RESAMPLES, len(value_n)))
    low, high = np.quantile(value_n[index].mean(axis=1), (0.025, 0.975))
    return Result(float(value_n.mean()), float(low), float(high), len(value_n))
