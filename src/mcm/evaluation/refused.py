"""Is a clip refused by the check of its frames: it is counted, and judged by nothing else."""

from __future__ import annotations

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score


class RefusedRate(MeanMetric):
    """Share of clips that the policy of `mcm.safety` refuses for their frames."""

    name = "refused"
    title = "refused by the check of frames"
    better = "lower"

    def score(self, clip: EvaluationClip) -> Score:
        """Return 0, as this clip was made; `mcm.evaluation.runs` notes the others."""
        return Score(0.0)
