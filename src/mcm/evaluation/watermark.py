"""Is the stock watermark there: a matched filter for its text and the darkness of its bar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcm.data.fluent.render import watermark
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.foreground import Array, background_rows, bar_opacity, bar_rows
from mcm.evaluation.metric import MeanMetric, Score

THRESHOLD = 0.3
"""A score above this is a watermark; fixed on clips 0 to 599 of the train split."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_HIGH_PASS = 3.0
_LIMIT = 24.0
_BLURS = (0.0, 1.0, 2.0)
_SHIFT = 2
_OPACITY = 96 / 255


@dataclass(frozen=True)
class WatermarkScore:
    """How much of a watermark a clip bears.

    Attributes:
        text: Correlation with the stamp's text, sharp or blurred, 0 to 1.
        bar: Opacity of the bar relative to the stamp's, 0 to 1.
    """

    text: float
    bar: float

    @property
    def value(self) -> float:
        """The mean of text and bar: 0 is clean, 1 the full stamp, between them what is left."""
        return (self.text + self.bar) / 2


def watermark_score(frames_thwc: NDArray[np.uint8]) -> WatermarkScore:
    """Return how much of the stock watermark a clip (t, h, w, 3) bears."""
    frames = frames_thwc.astype(np.float32)
    rows = bar_rows(frames.shape[1])
    opacity_h = bar_opacity(background_rows(frames))[rows]
    luma_hw = (frames[:, rows] @ _LUMA).mean(0)
    detail = high_pass(luma_hw).clip(-_LIMIT, _LIMIT)
    return WatermarkScore(
        text=max(match(detail, template) for template in _templates(*frames.shape[1:3])),
        bar=float(np.clip(opacity_h.mean() / (_OPACITY * _bar_share()), 0, 1)),
    )


def high_pass(luma_hw: Array) -> Array:
    """Return what is finer than about three pixels."""
    result: Array = luma_hw - ndimage.gaussian_filter(luma_hw, _HIGH_PASS)
    return result


def match(detail_hw: Array, template_hw: Array) -> float:
    """Return the greatest normalised correlation over small shifts, at least 0."""
    best = 0.0
    norm = float(np.linalg.norm(detail_hw) * np.linalg.norm(template_hw))
    if norm < 1e-6 or float(np.abs(detail_hw).mean()) < 0.2:
        return best
    for dy in range(-_SHIFT, _SHIFT + 1):
        for dx in range(-_SHIFT, _SHIFT + 1):
            moved = np.roll(template_hw, (dy, dx), axis=(0, 1))
            best = max(best, float((detail_hw * moved).sum()) / norm)
    return best


@lru_cache(maxsize=4)
def _templates(height: int, width: int) -> tuple[Array, ...]:
    """Return the high-passed text at several blurs, of the rows of the bar."""
    stamp = np.asarray(watermark(), dtype=np.float32)
    scale = (height / stamp.shape[0], width / stamp.shape[1])
    text = ndimage.zoom((stamp[..., 3] - 96).clip(0), scale, order=1)
    blurred = (ndimage.gaussian_filter(text, blur) for blur in _BLURS)
    return tuple(high_pass(text[bar_rows(height)]) for text in blurred)


def _bar_share() -> float:
    """Return the share of the examined rows that the stamp's bar covers."""
    alpha_h = np.asarray(watermark(), dtype=np.float32)[..., 3].min(axis=1)
    return float((alpha_h[bar_rows(len(alpha_h))] > 0).mean())


class WatermarkRate(MeanMetric):
    """Share of clips that bear the stock watermark."""

    name = "watermark"
    title = "watermark rate"
    better = "lower"

    def score(self, clip: EvaluationClip) -> Score:
        """Return 1 when the score is above the threshold; ``seen`` is the graded score."""
        graded = watermark_score(clip.frames_thwc).value
        return Score(float(graded > THRESHOLD), f"{graded:.3f}")
