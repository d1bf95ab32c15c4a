"""What every metric can do: take clips, hand out its state, merge, and give an interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mcm.evaluation.clips import EvaluationClip

State = dict[str, Any]
"""JSON-ready state of a metric, by clip key; merging the same clip twice counts it once."""

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


@dataclass(frozen=True)
class Score:
    """What a metric says of one clip: a number, and in words what was seen."""

    value: float
    seen: str = ""


class Metric(Protocol):
    """One measure of a set of clips; accumulates, so that parts may run anywhere."""

    name: ClassVar[str]

    def update(self, clips: Iterable[EvaluationClip]) -> None:
        """Judge more clips."""

    def state(self) -> State:
        """Return everything accumulated, JSON-ready."""

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another part accumulated."""

    def compute(self) -> Result:
        """Return the value over all clips with its interval."""


class MeanMetric:
    """A metric that is the mean of one number per clip."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}

    def score(self, clip: EvaluationClip) -> Score:
        """Judge one clip."""
        raise TypeError(f"{type(self).__name__} does not say how a clip is scored")

    def update(self, clips: Iterable[EvaluationClip]) -> None:
        """Judge more clips."""
        for clip in clips:
            self.scores[clip.key] = self.score(clip).value

    def state(self) -> State:
        """Return the score of every clip by its key."""
        return dict(self.scores)

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the scores that another part accumulated."""
        self.scores.update({key: float(value) for key, value in state.items()})

    def compute(self) -> Result:
        """Return the mean over all clips with its interval."""
        return bootstrap_mean(np.array([self.scores[key] for key in sorted(self.scores)]))


def bootstrap_mean(value_n: NDArray[np.float64], seed: int = 0) -> Result:
    """Return the mean with the 2.5 % and 97.5 % quantiles of means of resampled clips.

    Values that are not finite count as missing. Efron, *Bootstrap Methods: Another Look at
    the Jackknife*, 1979.
    """
    value_n = value_n[np.isfinite(value_n)]
    if not len(value_n):
        return Result(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    index = rng.integers(len(value_n), size=(_RESAMPLES, len(value_n)))
    low, high = np.quantile(value_n[index].mean(axis=1), (0.025, 0.975))
    return Result(float(value_n.mean()), float(low), float(high), len(value_n))
