"""How sharp the object is, whatever the watermark does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.foreground import bar_rows, find_foreground
from mcm.evaluation.metric import MeanMetric, Score

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_LAPLACIAN = np.array([[[0, 1, 0], [1, -4, 1], [0, 1, 0]]], dtype=np.float32)
_MARGIN = 3
_FEWEST = 200
_REFERENCE_SIZE = 128


def sharpness(frames_thwc: NDArray[np.uint8]) -> float:
    """Return √(Σ(∇²L)² / Σ(L − L̄)²) over the object and its outline, rows of the bar left out.

    L is luminance at 128 lines, so that sizes compare; NaN when there is no object.
    """
    scene = find_foreground(frames_thwc)
    region = scene.weight_thw > 0.5
    region = ndimage.maximum_filter(region, size=(1, 2 * _MARGIN + 1, 2 * _MARGIN + 1))
    region[:, bar_rows(frames_thwc.shape[1])] = False
    if region.sum() < _FEWEST:
        return float("nan")
    return detail(frames_thwc, region)


def detail(frames_thwc: NDArray[np.uint8], region_thw: NDArray[np.bool_]) -> float:
    """Return √(Σ(∇²L)² / Σ(L − L̄)²) over a region, L luminance at 128 lines."""
    luma_thw = frames_thwc.astype(np.float32) @ _LUMA
    laplacian = ndimage.convolve(luma_thw, _LAPLACIAN, mode="nearest")
    inside = luma_thw[region_thw]
    contrast = float(((inside - inside.mean()) ** 2).sum())
    scale = float(frames_thwc.shape[1]) / _REFERENCE_SIZE
    energy = float((laplacian[region_thw] ** 2).sum())
    return scale * scale * math.sqrt(energy / max(contrast, 1e-6))


class Sharpness(MeanMetric):
    """Mean sharpness of the objects; clips without an object do not count."""

    name = "sharpness"
    title = "sharpness"

    def score(self, clip: EvaluationClip) -> Score:
        """Return the sharpness of a clip."""
        return Score(sharpness(clip.frames_thwc))


class FrameSharpness(MeanMetric):
    """Mean sharpness of whole frames, for clips of the real world; one colour has none."""

    name = "sharpness"
    title = "sharpness"

    def score(self, clip: EvaluationClip) -> Score:
        """Return the sharpness of a clip."""
        frames = clip.frames_thwc
        if (frames == frames[0, 0, 0]).all():
            return Score(float("nan"))
        return Score(detail(frames, np.ones(frames.shape[:3], dtype=bool)))
