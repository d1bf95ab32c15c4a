"""Figures of a detector against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcm.forensics.measures import auc, expected_calibration_error, missed, reliability

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(real=SCORES, generated=SCORES)
def test_area_is_the_share_of_ordered_pairs(real: list[int], generated: list[int]) -> None:
    pairs = [(g > r) + 0.5 * (g == r) for r in real for g in generated]
    assert auc(np.array(real), np.array(generated)) == pytest.approx(np.mean(pairs))


@given(real=st.lists(st.floats(-5, 5), min_size=1, max_size=400), allowed=st.floats(0, 0.5))
def test_no_more_false_alarms_than_allowed(real: list[float], allowed: float) -> None:
    scores = np.array(real)
    grid = np.append(np.sort(scores), np.inf)
    caught = [t for t in grid if missed(scores, np.array([t]), allowed) == 0]
    assert np.mean(scores >= min(caught)) <= allowed


def test_misses_at_one_percent() -> None:
    real = np.arange(200.0)
    assert missed(real, np.array([197.5, 197.0, 198.5, 500.0])) == 0.25
    assert missed(real[:50], np.array([49.0, 49.5])) == 0.5


def test_calibration_error_of_a_known_case() -> None:
    said = np.array([0.95] * 10 + [0.05] * 10)
    true = np.array([True] * 8 + [False] * 12)
    assert reliability(said, true) == [
        (pytest.approx(0.05), 0.0, 10),
        (pytest.approx(0.95), 0.8, 10),
    ]
    assert expected_calibration_error(said, true) == pytest.approx(0.1)
