"""How different clips of one model are: a student that always makes the same has collapsed."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from mcm.evaluation.features import ClipFeatures
from mcm.evaluation.frechet import Array, features
from mcm.evaluation.metric import NOTHING, Metric, Observations, Result, bootstrap_mean, needed


class Diversity(Metric):
    """Spread of clips' features over the reference's: 1 is as diverse as real clips, 0 collapsed.

    The spread is the mean distance of features from their nearest ten others of the same run, so
    that clips of one concept and background count, which are those that look alike.

    Args:
        observer: What gives the features of clips.
        reference: The run of real clips.
    """

    name = "diversity"
    title = "diversity"
    better = ""
    neighbours = 10

    def __init__(self, observer: str = ClipFeatures.name, reference: str = "real-poor") -> None:
        self.observer, self.reference = observer, reference

    def compute(self, seen: Observations, reference: Observations | None = None) -> Result:
        """Return the ratio with its interval; as many clips of the reference are taken."""
        others = needed(self, reference)
        count = min(len(seen), len(others))
        if count <= self.neighbours:
            return NOTHING
        own = near_distances(features(seen)[:count, 0], self.neighbours)
        real = near_distances(features(others)[:count, 0], self.neighbours)
        return bootstrap_mean(own / real.mean())


def near_distances(x_nd: Array, neighbours: int) -> Array:
    """Return each row's mean distance from its nearest others, (n,)."""
    distance_nn = cdist(x_nd, x_nd)
    np.fill_diagonal(distance_nn, np.inf)
    nearest = np.sort(distance_nn, axis=1)[:, :neighbours]
    return np.asarray(nearest.mean(1), dtype=np.float64)
