"""Which of the named colours the background has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.scene import BACKGROUNDS
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.foreground import background_rows, bar_rows
from mcm.evaluation.metric import MeanMetric, Score

NONE = "none"
_MEAN_SHADE = 0.97
_FARTHEST = 45.0


def background_name(frames_thwc: NDArray[np.uint8]) -> str:
    """Return the nearest named colour, or ``none`` when every one is far."""
    row_hc = background_rows(frames_thwc.astype(np.float32))
    outside = np.ones(len(row_hc), dtype=bool)
    outside[bar_rows(len(row_hc))] = False
    seen = row_hc[outside].mean(0)
    distances = {
        name: float(np.linalg.norm(seen - _MEAN_SHADE * np.asarray(colour)))
        for name, colour in BACKGROUNDS.items()
    }
    best = min(distances, key=distances.__getitem__)
    return best if distances[best] < _FARTHEST else NONE


class BackgroundRate(MeanMetric):
    """Share of clips whose background has the colour that the prompt names."""

    name = "background"
    title = "background"

    def score(self, clip: EvaluationClip) -> Score:
        """Return 1 when the colour is the prompt's; ``seen`` is the colour's name."""
        seen = background_name(clip.frames_thwc)
        return Score(float(seen == clip.named.background), seen)
