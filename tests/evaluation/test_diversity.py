from __future__ import annotations

import numpy as np
import pytest

from mcm.evaluation.arrays import pack
from mcm.evaluation.diversity import Diversity, near_distances
from mcm.evaluation.metric import Observations


def run(x_nd: np.ndarray) -> Observations:
    return {f"{n:03}": {"features": pack(row[None])} for n, row in enumerate(x_nd)}


def test_near_distances_of_a_line() -> None:
    x = np.arange(5.0)[:, None]
    np.testing.assert_allclose(near_distances(x, 2), [1.5, 1.0, 1.0, 1.0, 1.5])


def test_real_is_one_half_the_spread_a_half_and_a_collapse_zero() -> None:
    x = np.random.default_rng(0).normal(size=(60, 8))
    assert Diversity().compute(run(x), run(x)).value == pytest.approx(1, abs=1e-3)
    assert Diversity().compute(run(x / 2), run(x)).value == pytest.approx(0.5, abs=1e-3)
    assert Diversity().compute(run(0 * x), run(x)).value == 0


def test_a_longer_reference_does_not_look_denser() -> None:
    rng = np.random.default_rng(1)
    x, real = rng.normal(size=(300, 4)), rng.normal(size=(900, 4))
    assert Diversity().compute(run(x), run(real)).value == pytest.approx(1, abs=0.1)


def test_too_few_clips_have_none() -> None:
    x = run(np.zeros((4, 8)))
    assert Diversity().compute(x, x).count == 0
