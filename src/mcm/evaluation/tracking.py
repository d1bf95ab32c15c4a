"""A classical tracker, independent of every network: where an object is and how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcm.evaluation.foreground import Foreground, find_foreground

Array = NDArray[np.float64]

SMALLEST_AREA = 60.0
"""Less foreground than this, in pixels, is no object."""


@dataclass(frozen=True, eq=False)
class Track:
    """The path of the object of a clip.

    Attributes:
        centre_t2: Centre of gravity (x, y) in pixels.
        area_t: Area in pixels.
        change: Mean change from frame to frame relative to the object's contrast.
        smoothness: Change over all pairs of frames against the change of neighbours.
        confidence: Share of frames in which an object was found.
    """

    centre_t2: Array
    area_t: Array
    change: float
    smoothness: float
    confidence: float


def track(frames_thwc: NDArray[np.uint8]) -> Track:
    """Follow the object of a clip (t, h, w, 3)."""
    scene = find_foreground(frames_thwc)
    scale = 128 / frames_thwc.shape[1]
    weight = scene.weight_thw
    area_t = weight.sum((1, 2), dtype=np.float64) * scale**2
    centre_t2 = _centres(weight)
    change, smoothness = _changes(scene)
    return Track(
        centre_t2=centre_t2 * scale,
        area_t=area_t,
        change=change,
        smoothness=smoothness,
        confidence=float((area_t > SMALLEST_AREA).mean()),
    )


def _centres(weight_thw: NDArray[np.float32]) -> Array:
    """Return the centres of gravity (x, y); a frame without object takes the frame's middle."""
    _, height, width = weight_thw.shape
    total = weight_thw.sum((1, 2), dtype=np.float64)
    sure = np.maximum(total, 1e-6)
    x = (weight_thw.sum(1) * np.arange(width)).sum(1) / sure
    y = (weight_thw.sum(2) * np.arange(height)).sum(1) / sure
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.where(total[:, None] > 1e-6, np.stack([x, y], axis=1), middle)


def _changes(scene: Foreground) -> tuple[float, float]:
    """Return the change of neighbours over the contrast, and of all pairs over neighbours."""
    seen = scene.excess_thwc[:, ::2, ::2] * scene.weight_thw[:, ::2, ::2, None]
    flat = seen.reshape(len(seen), -1).astype(np.float64)
    energy_t = (flat**2).sum(1)
    squared = energy_t[:, None] + energy_t[None] - 2 * flat @ flat.T
    neighbours = float(np.diagonal(squared, 1).mean())
    others = squared[np.triu_indices(len(seen), 1)].mean()
    contrast = max(float(energy_t.mean()), 1e-9)
    return float(np.sqrt(max(neighbours, 0) / contrast)), float(others / max(neighbours, 1e-9))
