"""Is a clip near-black: the failure that training without real trajectories is known for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score

DARKEST = 16.0
"""Luminance (0 to 255) below which a frame is near-black; 16 is black in studio-range video."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_BRIGHT_QUANTILE = 0.95


def brightness(frames_thwc: NDArray[np.uint8]) -> float:
    """Return the median over frames of the luminance that 5 % of a frame's pixels exceed."""
    luma_thw = frames_thwc.astype(np.float32) @ _LUMA
    return float(np.median(np.quantile(luma_thw, _BRIGHT_QUANTILE, axis=(1, 2))))


class NearBlackRate(MeanMetric):
    """Share of clips whose frame of median brightness is near-black."""

    name = "near_black"
    title = "near-black rate"
    better = "lower"

    def score(self, clip: EvaluationClip) -> Score:
        """Return 1 for a near-black clip; ``seen`` is its brightness."""
        light = brightness(clip.frames_thwc)
        return Score(float(light < DARKEST), f"{light:.1f}")
