"""How long a clip takes."""

from __future__ import annotations

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score


class SecondsPerClip(MeanMetric):
    """Mean seconds from text to frames, one clip at a time, on the machine of the evaluation."""

    name = "seconds"
    title = "seconds per clip"
    better = "lower"

    def score(self, clip: EvaluationClip) -> Score:
        """Return the seconds of a clip; real clips have none."""
        return Score(clip.seconds)
