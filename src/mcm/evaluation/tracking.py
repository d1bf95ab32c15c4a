"""A classical tracker, independent of every network: where an object is, how large, how turned."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcm.evaluation.foreground import Foreground, find_foreground

Array = NDArray[np.float64]

ANGLES = 120
"""Polar images have this many directions, 3° apart."""

_RADII = 14
_OUTERMOST = 1.7
_LAGS = 4
_FASTEST = 36.0
SMALLEST_AREA = 60.0
"""Less foreground than this, in pixels, is no object."""


@dataclass(frozen=True, eq=False)
class Track:
    """The path of the object of a clip.

    Attributes:
        centre_t2: Centre of gravity (x, y) in pixels.
        area_t: Area in pixels.
        turn_t: Rotation from each frame to the next in degrees, clockwise; t − 1 values.
        rate_r: Rotation rates in degrees a frame at which ``agreement_r`` is given.
        agreement_r: Mean correlation of frames, one to four apart, turned by each rate.
        change: Mean change from frame to frame relative to the object's contrast.
        smoothness: Change over all pairs of frames against the change of neighbours.
        confidence: Share of frames in which an object was found.
    """

    centre_t2: Array
    area_t: Array
    turn_t: Array
    rate_r: Array
    agreement_r: Array
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
    polar = polar_images(scene, centre_t2, np.sqrt(area_t) / scale)
    lags = [lag_correlation(polar, lag) for lag in range(1, _LAGS + 1)]
    rate_r = np.arange(-_FASTEST, _FASTEST + 0.25, 0.5)
    agreement_r = np.mean([at_angle(c, lag * rate_r) for lag, c in enumerate(lags, 1)], axis=0)
    rate = float(rate_r[agreement_r.argmax()])
    change, smoothness = _changes(scene)
    return Track(
        centre_t2=centre_t2 * scale,
        area_t=area_t,
        turn_t=_turns(polar, rate),
        rate_r=rate_r,
        agreement_r=agreement_r,
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


def polar_images(scene: Foreground, centre_t2: Array, side_t: Array) -> Array:
    """Return the object in polar coordinates around its centre, (t, radius·colour, angle).

    Radii reach 1.7 times the radius of a disc of the object's area; the mean over angles is
    removed and radii weigh by their circumference.
    """
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    share = (np.arange(_RADII) + 0.5) / _RADII
    images = []
    for excess, weight, centre, side in zip(
        scene.excess_thwc, scene.weight_thw, centre_t2, side_t, strict=True
    ):
        radius = share[:, None] * _OUTERMOST * side / np.sqrt(np.pi)
        where = np.stack([centre[1] + radius * np.sin(angle), centre[0] + radius * np.cos(angle)])
        shown = np.concatenate([np.moveaxis(excess * weight[..., None], -1, 0), 80 * weight[None]])
        images.append(
            [ndimage.map_coordinates(part, where, order=1, mode="constant") for part in shown]
        )
    polar = np.asarray(images, dtype=np.float64) * np.sqrt(share)[:, None]
    polar -= polar.mean(-1, keepdims=True)
    return polar.reshape(len(polar), -1, ANGLES)


def lag_correlation(polar_tra: Array, lag: int) -> Array:
    """Return Σ⟨p_t, turned p_{t+lag}⟩ / Σ‖p_t‖‖p_{t+lag}‖ for every turn, (angle,)."""
    first, second = polar_tra[:-lag], polar_tra[lag:]
    products = np.fft.rfft(second) * np.fft.rfft(first).conj()
    correlation = np.fft.irfft(products.sum((0, 1)), n=ANGLES)
    norms = np.linalg.norm(first, axis=(1, 2)) * np.linalg.norm(second, axis=(1, 2))
    result: Array = correlation / max(norms.sum(), 1e-9)
    return result


def at_angle(correlation_a: Array, degrees_n: Array) -> Array:
    """Return a periodic correlation at angles in degrees, linear between its samples."""
    position = np.mod(degrees_n * ANGLES / 360, ANGLES)
    low = np.floor(position).astype(int) % ANGLES
    part = position - np.floor(position)
    result: Array = (1 - part) * correlation_a[low] + part * correlation_a[(low + 1) % ANGLES]
    return result


def _turns(polar_tra: Array, rate: float, reach: float = 12.0) -> Array:
    """Return the turn of each interval: the best angle within ``reach`` of the clip's rate."""
    candidates = np.arange(rate - reach, rate + reach + 0.5, 1.0)
    turns = []
    for first, second in pairwise(polar_tra):
        correlation = lag_correlation(np.stack([first, second]), 1)
        turns.append(candidates[at_angle(correlation, candidates).argmax()])
    return np.asarray(turns)


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
