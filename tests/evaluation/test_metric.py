from __future__ import annotations

import json

import numpy as np
import pytest

from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Observation, Score, bootstrap_mean


class Brightness(MeanMetric):
    name = "brightness"

    def score(self, clip: EvaluationClip) -> Score:
        return Score(float(clip.frames_thwc.mean()))


def observed(numbers: range) -> dict[str, Observation]:
    """What the metric keeps of clips of rising brightness, as read back from a file."""
    seen = {}
    for n in numbers:
        frames = np.full((2, 4, 4, 3), 3 * n, dtype=np.uint8)
        seen[str(n)] = Brightness().observe(EvaluationClip(str(n), frames, "grey"))
    return json.loads(json.dumps(seen))


class Difference(Brightness):
    name = "difference"
    observer = "brightness"
    reference = "teacher"

    def value(self, seen: Observation, reference: Observation | None = None) -> float:
        assert reference is not None
        return float(seen["value"] - reference["value"])


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 800)
    result = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert result.value == pytest.approx(values.mean())
    assert result.high - result.value == pytest.approx(half, rel=0.1)
    assert result.value - result.low == pytest.approx(half, rel=0.1)
    assert result.count == 800


def test_missing_values_do_not_count() -> None:
    result = bootstrap_mean(np.array([1.0, np.nan, 1.0]))
    assert (result.value, result.low, result.high, result.count) == (1.0, 1.0, 1.0, 2)
    assert bootstrap_mean(np.array([np.nan])).count == 0


def test_parts_merge_to_the_whole_and_overlap_counts_once() -> None:
    merged = observed(range(6)) | observed(range(4, 10))
    assert Brightness().compute(merged) == Brightness().compute(observed(range(10)))
    assert Brightness().compute(merged).value == pytest.approx(13.5)


def test_a_comparison_takes_the_clips_that_both_runs_have() -> None:
    reference = {key: {"value": 1.0} for key in observed(range(4, 12))}
    result = Difference().compute(observed(range(8)), reference)
    assert result.count == 4
    assert result.value == pytest.approx(3 * 5.5 - 1)


def test_a_comparison_without_its_reference_is_refused() -> None:
    with pytest.raises(UserError, match="'difference': compares with run 'teacher'"):
        Difference().compute(observed(range(2)))


def test_a_value_that_is_not_finite_is_null() -> None:
    class Nothing(MeanMetric):
        name = "nothing"

        def score(self, clip: EvaluationClip) -> Score:
            return Score(float("nan"))

    seen = Nothing().observe(EvaluationClip("0", np.zeros((1, 2, 2, 3), np.uint8), ""))
    assert seen == {"value": None}
    assert Nothing().compute({"0": seen}).count == 0
