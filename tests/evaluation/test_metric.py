from __future__ import annotations

import json

import numpy as np
import pytest

from mcm.data.fluent.scene import Combination
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score, bootstrap_mean


class Brightness(MeanMetric):
    name = "brightness"

    def score(self, clip: EvaluationClip) -> Score:
        return Score(float(clip.frames_thwc.mean()))


def clips(count: int) -> list[EvaluationClip]:
    what = Combination(0, "left", "blue")
    return [
        EvaluationClip(str(n), np.full((2, 4, 4, 3), 3 * n, dtype=np.uint8), what)
        for n in range(count)
    ]


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
    whole, first, second = Brightness(), Brightness(), Brightness()
    whole.update(clips(10))
    first.update(clips(10)[:6])
    second.update(clips(10)[4:])
    second.merge(json.loads(json.dumps(first.state())))
    assert second.compute() == whole.compute()
    assert whole.compute().value == pytest.approx(13.5)
