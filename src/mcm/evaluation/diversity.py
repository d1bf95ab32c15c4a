"""How different clips of one model are: a student that always makes the same has collapsed."""

from __future__ import annotations

import numpy as np

from mcm.evaluation.features import ClipFeatures
from mcm.evaluation.frechet import Array, features
from mcm.evaluation.metric import NOTHING, Metric, Observations, Result, bootstrap_mean, needed


class Diversity(Metric):
    """Spread of clips' features over the reference's: 1 is as diverse as real clips, 0 collapsed.

    The spread is the mean distance of features from their nearest ten others of the same run, so
    that clips of one concept and background count, which are those that look alike.
    """

    name = "diversity"
    title = "diversity"
    better = ""
    observer = ClipFeatures.name
    reference = "real-poor"
    neighbours = 10

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
    square_nn = ((x_nd[:, None] - x_nd[None]) ** 2).sum(-1)
    np.fill_diagonal(square_nn, np.inf)
    nearest = np.sort(square_nn, axis=1)[:, :neighbours]
    return np.asarray(np.sqrt(nearest).mean(1), dtype=np.float64)
