from __future__ import annotations

import numpy as np

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.speed import SecondsPerClip


def test_only_generated_clips_have_seconds() -> None:
    frames, metric = np.zeros((1, 8, 8, 3), np.uint8), SecondsPerClip()
    seen = {
        "a": metric.observe(EvaluationClip("a", frames, "", seconds=0.5)),
        "b": metric.observe(EvaluationClip("b", frames, "", seconds=1.5)),
        "real": metric.observe(EvaluationClip("real", frames, "")),
    }
    result = metric.compute(seen)
    assert (result.value, result.count) == (1.0, 2)
