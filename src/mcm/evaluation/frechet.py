"""Fréchet distances between sets of features: FVD of clips, FID of frames.

Heusel et al., *GANs Trained by a Two Time-Scale Update Rule*, 2017 (arXiv 1706.08500), and
Unterthiner et al., *Towards Accurate Generative Models of Video*, 2018 (arXiv 1812.01717).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mcm.evaluation.arrays import unpack
from mcm.evaluation.metric import NOTHING, Metric, Observations, Result, needed

Array = NDArray[np.float64]

Gaussian = tuple[Array, Array]
"""Mean and covariance."""

_RESAMPLES = 200


def frechet_distance(x_nd: Array, y_md: Array) -> float:
    """Return |μ_x − μ_y|² + Tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½) of Gaussians fitted to two sets.

    The trace of the root is that of (Σ_y^½ Σ_x Σ_y^½)^½, whose eigenvalues are real, so that no
    small number need be added to a singular covariance.

    Args:
        x_nd: Features of one set, at least two rows.
        y_md: Features of the other.
    """
    reference = _fit(y_md)
    return _distance(_fit(x_nd), reference, _root(reference[1]))


def _fit(x_nd: Array) -> Gaussian:
    return x_nd.mean(0), np.atleast_2d(np.cov(x_nd, rowvar=False))


def _distance(one: Gaussian, other: Gaussian, other_root: Array) -> float:
    """Return the distance, given Σ_y^½, which is dear where features are many."""
    (mean, cov), (other_mean, other_cov) = one, other
    eigenvalues = np.linalg.eigvalsh(other_root @ cov @ other_root)
    trace = np.trace(cov + other_cov) - 2 * np.sqrt(eigenvalues.clip(0)).sum()
    return float(((mean - other_mean) ** 2).sum() + trace)


def _root(cov_dd: Array) -> Array:
    values, vectors = np.linalg.eigh(cov_dd)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T, dtype=np.float64)


def bootstrap_frechet(x_nkd: Array, y_mkd: Array, seed: int = 0) -> Result:
    """Return the distance with a 95 % interval over resampled clips of the first set.

    Resampling repeats clips, which adds to every distance; the interval is moved back by the
    mean of that.

    Args:
        x_nkd: k features for each of n clips; all frames of a clip are drawn together.
        y_mkd: Those of the reference, which stays as it is.
        seed: Seed of the resampling.
    """
    value, drawn = _distances(x_nkd, _fit(_rows(y_mkd)), seed)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Result(value, float(low), float(high), len(x_nkd))


def paired_ratio(x_nkd: Array, z_nkd: Array, y_mkd: Array, seed: int = 0) -> Result:
    """Return how many times as far as z from y x is, with a 95 % interval over resampled clips.

    Clip i of x and clip i of z are of one prompt and drawn together, so that what a prompt does to
    both cancels. As in :func:`bootstrap_frechet`, what resampling adds to each is taken off again.

    Args:
        x_nkd: k features for each of n clips of one method.
        z_nkd: Those of the method to divide by, of the same prompts.
        y_mkd: Those of the reference, which stays as it is.
        seed: Seed of the resampling.
    """
    reference = _fit(_rows(y_mkd))
    values, drawn = zip(*(_distances(one, reference, seed) for one in (x_nkd, z_nkd)), strict=True)
    low, high = np.quantile(drawn[0] / drawn[1], (0.025, 0.975))
    return Result(values[0] / values[1], float(low), float(high), len(x_nkd))


def paired_shift(x_nd: Array, y_nd: Array) -> tuple[float, float]:
    """Return |E x − E y|² of pairs, free of bias, and what its error is where that is zero.

    Row i of x and row i of y belong together, so that what a pair has in common cancels before the
    mean is taken; of the squared mean of differences δ, tr Σ_δ / n is taken off, what chance alone
    gives. So a few dozen pairs tell what a Fréchet distance needs hundreds for. The value can be
    below zero; its standard deviation without a shift is √(2 tr Σ_δ²) / n.

    Args:
        x_nd: Features of one set, at least two rows.
        y_nd: Features of the other, as many.
    """
    difference_nd = x_nd - y_nd
    cov_dd = np.atleast_2d(np.cov(difference_nd, rowvar=False))
    n = len(difference_nd)
    value = (difference_nd.mean(0) ** 2).sum() - np.trace(cov_dd) / n
    return float(value), float(np.sqrt(2 * (cov_dd**2).sum()) / n)


def _rows(x_nkd: Array) -> Array:
    return x_nkd.reshape(-1, x_nkd.shape[-1])


def _distances(x_nkd: Array, reference: Gaussian, seed: int) -> tuple[float, Array]:
    """Return the distance, and those of resampled clips, moved to have it as their mean."""
    root = _root(reference[1])

    def far(x_nkd: Array) -> float:
        return _distance(_fit(_rows(x_nkd)), reference, root)

    value = far(x_nkd)
    drawn = np.array([far(some_nkd) for some_nkd in _resampled(x_nkd, seed)])
    return value, np.maximum(drawn - (drawn.mean() - value), 0)


def _resampled(x_nkd: Array, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    for _ in range(_RESAMPLES):
        yield x_nkd[rng.integers(len(x_nkd), size=len(x_nkd))]


class FrechetDistance(Metric):
    """Distance of a run's features from those of a run of real ones.

    Args:
        name: Unique among metrics.
        title: As in tables.
        observer: What gives the features, as ``{"features": packed (k, d)}``.
        reference: The run of real clips or stills.
    """

    better = "lower"

    def __init__(self, name: str, title: str, observer: str, reference: str) -> None:
        self.name, self.title = name, title
        self.observer, self.reference = observer, reference

    def compute(self, seen: Observations, reference: Observations | None = None) -> Result:
        """Return the distance; needs two clips at least."""
        others = needed(self, reference)
        if len(seen) < 2:
            return NOTHING
        return bootstrap_frechet(features(seen), features(others))


def features(seen: Observations) -> Array:
    """Return the features of clips in the order of their keys, (n, k, d)."""
    return np.stack([unpack(seen[key]["features"]) for key in sorted(seen)])
