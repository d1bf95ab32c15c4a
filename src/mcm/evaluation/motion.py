"""Which of the named motions a tracked object makes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from mcm.data.fluent.scene import Motion
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score
from mcm.evaluation.tracking import Array, Track, track

SeenMotion = Motion | Literal["none"]
"""A named motion, or ``none``: no object, a frozen clip, or a movement without order."""

_SMALLEST_TRAVEL = 34.0
_SMALLEST_BOUNCE = 26.0
_SMALLEST_GROWTH = math.log(1.32 / 0.68)
_SHARE = 0.5
_ORDER = 0.45
_SMALLEST_SWING = 1.0
"""How far the area swings, over its mean, when an object turns once around its upright axis."""
_FROZEN = 0.002
_CONFIDENCE = 0.9


def named_motion(seen: Track) -> SeenMotion:
    """Return the motion that a track shows.

    A motion happens when it reaches at least half of what the world's smallest does; of several
    the relatively largest counts. Most of the path's variance must follow
    the motion, so that shuffled frames show none. ``still`` is an object that does nothing of
    that but is alive: its animation changes it. The order of a still clip's frames does not show.
    """
    if seen.confidence < _CONFIDENCE or seen.change < _FROZEN:
        return "none"
    strengths = evidence(seen)
    best = max(strengths, key=lambda motion: strengths[motion][0])
    strength, order = strengths[best]
    if strength < _SHARE:
        return "still"
    return best if order > _ORDER else "none"


def evidence(seen: Track) -> dict[Motion, tuple[float, float]]:
    """Return for each motion its extent over the world's smallest, and how orderly it is, 0 to 1.

    Order is the share of variance along the path that the motion explains (R²).
    """
    time_t = np.linspace(-0.5, 0.5, len(seen.area_t))
    hop_t = np.abs(np.sin(2 * np.pi * (time_t + 0.5)))
    x_t, y_t = seen.centre_t2.T
    across, across_order = _fit(x_t, time_t)
    down, down_order = _fit(y_t, time_t)
    drop, drop_order = _fit(y_t, hop_t)
    side_t = np.abs(np.cos(2 * np.pi * (time_t + 0.5)))
    swing, swing_order = _fit(seen.area_t / max(seen.area_t.mean(), 1e-9), side_t)
    growth, growth_order = _fit(0.5 * np.log(np.maximum(seen.area_t, 1.0)), time_t)
    return {
        "left": (-across / _SMALLEST_TRAVEL, across_order),
        "right": (across / _SMALLEST_TRAVEL, across_order),
        "up": (-down / _SMALLEST_TRAVEL, down_order),
        "down": (down / _SMALLEST_TRAVEL, down_order),
        "bounce": (-drop / _SMALLEST_BOUNCE, drop_order),
        "spin": (swing / _SMALLEST_SWING, swing_order),
        "grow": (growth / _SMALLEST_GROWTH, growth_order),
        "shrink": (-growth / _SMALLEST_GROWTH, growth_order),
    }


def _fit(value_t: Array, course_t: Array) -> tuple[float, float]:
    """Return the slope of a least-squares fit of a course plus a constant, and its R²."""
    value, course = value_t - value_t.mean(), course_t - course_t.mean()
    slope = float(value @ course / (course @ course))
    explained = slope**2 * float(course @ course)
    return slope, explained / max(float(value @ value), 1e-12)


class MotionFidelity(MeanMetric):
    """Share of clips in which the motion that the prompt names happens."""

    name = "motion"
    title = "motion fidelity"

    def score(self, clip: EvaluationClip) -> Score:
        """Return 1 when the motion happens; ``seen`` is the motion that the tracker names."""
        seen = named_motion(track(clip.frames_thwc))
        return Score(float(seen == clip.named.motion), seen)
