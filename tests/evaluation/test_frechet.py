from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from mcm.errors import UserError
from mcm.evaluation.arrays import pack
from mcm.evaluation.frechet import (
    FrechetDistance,
    bootstrap_frechet,
    frechet_distance,
    paired_ratio,
    paired_shift,
)


def gaussian(count: int, mean: np.ndarray, scale: np.ndarray, seed: int = 0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).normal(size=(count, len(mean)))


def test_identical_sets_are_at_zero() -> None:
    x = gaussian(300, np.zeros(16), np.ones(16))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_a_shift_is_its_squared_length() -> None:
    x = gaussian(300, np.zeros(16), np.ones(16))
    assert frechet_distance(x, x + 0.5) == pytest.approx(16 * 0.25, rel=1e-9)


def test_known_spreads() -> None:
    """Between N(0, a²) and N(0, b²) in d independent dimensions it is d (a − b)²."""
    x = gaussian(40_000, np.zeros(4), np.full(4, 1.0), seed=1)
    y = gaussian(40_000, np.zeros(4), np.full(4, 3.0), seed=2)
    assert frechet_distance(x, y) == pytest.approx(16, rel=0.03)


def test_it_agrees_with_the_matrix_square_root() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(24, 24))
    x = rng.normal(size=(400, 24)) @ mix
    y = rng.normal(size=(500, 24)) @ mix.T + 0.3
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(cov_x @ cov_y).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x + cov_y - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-6)


def test_fewer_clips_than_dimensions_still_give_a_number() -> None:
    x = gaussian(8, np.zeros(32), np.ones(32))
    assert np.isfinite(frechet_distance(x, x + 1))


def test_a_shift_of_pairs_is_free_of_bias_and_knows_its_error() -> None:
    """What pairs share is far wider than what sets them apart; 40 of them tell a shift of 0.5."""
    values = []
    for seed in range(400):
        both = gaussian(40, np.zeros(16), np.full(16, 5.0), seed=seed)
        x = both + gaussian(40, np.full(16, 0.5), np.ones(16), seed=1000 + seed)
        y = both + gaussian(40, np.zeros(16), np.ones(16), seed=2000 + seed)
        values.append((*paired_shift(x, y), paired_shift(x - 0.5, y)[0]))
    found, error, nothing = np.array(values).T
    assert found.mean() == pytest.approx(16 * 0.25, abs=0.15)
    assert nothing.mean() == pytest.approx(0, abs=0.05)
    assert error.mean() == pytest.approx(nothing.std(), rel=0.25)


def test_a_ratio_of_pairs_is_surer_than_its_parts() -> None:
    """Two methods that differ by a shift alone share what the prompts bring along."""
    y = gaussian(4000, np.zeros(8), np.ones(8), seed=9)[:, None]
    x = gaussian(200, np.full(8, 0.5), np.ones(8), seed=3)[:, None]
    z = x + 0.3
    ratio, one, other = paired_ratio(x, z, y), bootstrap_frechet(x, y), bootstrap_frechet(z, y)
    assert ratio.value == pytest.approx(one.value / other.value)
    assert ratio.low < ratio.value < ratio.high < 1
    apart = one.high / other.low - one.low / other.high
    assert ratio.high - ratio.low < 0.5 * apart
    assert paired_ratio(x, x, y).high == pytest.approx(1)


def test_the_interval_holds_the_value_and_narrows_with_clips() -> None:
    y = gaussian(2000, np.zeros(8), np.ones(8), seed=9)[:, None]
    widths = []
    for count in (100, 1600):
        x = gaussian(count, np.full(8, 0.4), np.ones(8), seed=3)[:, None]
        result = bootstrap_frechet(x, y)
        assert result.low < result.value < result.high
        assert result.count == count
        widths.append(result.high - result.low)
    assert widths[1] < 0.5 * widths[0]


def test_the_metric_compares_with_its_reference() -> None:
    metric = FrechetDistance("fvd", "FVD", "clip_features", "real-poor")
    x = gaussian(64, np.zeros(8), np.ones(8))
    seen = {str(n): {"features": pack(row[None])} for n, row in enumerate(x)}
    moved = {str(n): {"features": pack(row[None] + 1)} for n, row in enumerate(x)}
    assert metric.compute(seen, seen).value == pytest.approx(0, abs=1e-6)
    assert metric.compute(seen, moved).value == pytest.approx(8, rel=0.01)
    assert metric.compute({}, moved).count == 0
    with pytest.raises(UserError, match="compares with run 'real-poor'"):
        metric.compute(seen)
