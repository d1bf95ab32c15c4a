"""How good a detector is: area under the curve, misses at a rate of false alarms, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def auc(real: Array, generated: Array) -> float:
    """Return the probability that a generated clip scores higher than a real one; ties half."""
    order = np.sort(real)
    below = np.searchsorted(order, generated, "left") + np.searchsorted(order, generated, "right")
    return float(below.mean() / (2 * len(real)))


def missed(real: Array, generated: Array, false_alarms: float = 0.01) -> float:
    """Return the share of generated clips that a threshold misses.

    The threshold is the lowest score at which no more than ``false_alarms`` of the real clips
    count as generated; of fewer than 1 / ``false_alarms`` of them, none may.
    """
    allowed = int(false_alarms * len(real))
    threshold = np.sort(real)[len(real) - 1 - allowed]
    return float((generated <= threshold).mean())


def reliability(
    probabilities: Array, generated: NDArray[np.bool_], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return for each bin in use: mean probability, share of generated clips, number of clips."""
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        (float(probabilities[which].mean()), float(generated[which].mean()), int(which.sum()))
        for which in (places == number for number in range(bins))
        if which.any()
    ]


def expected_calibration_error(probabilities: Array, generated: NDArray[np.bool_]) -> float:
    """Return the mean over clips of |mean probability − share of generated clips| of their bin.

    Guo et al., *On Calibration of Modern Neural Networks*, 2017 (arXiv 1706.04599), equation 3.
    """
    found = reliability(probabilities, generated)
    return sum(count * abs(said - true) for said, true, count in found) / len(probabilities)
