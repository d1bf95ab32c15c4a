"""The traces by which a generated clip is told from a real one: numbers of frames and of time.

Within frames: the spectrum, and residuals of high-pass filters as in steganalysis (Fridrich and
Kodovský, *Rich Models for Steganalysis of Digital Images*, 2012), whose smooth places, neighbours
and periods betray decoders (Durall et al., *Watch Your Up-Convolution*, 2020, arXiv 2003.01826).
Over time: how noise and motion go on from frame to frame. Nothing depends on where a decoder's or
a codec's grid begins, and what a clip shows counts little.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.safety.watermark import luma

Array = NDArray[np.floating[Any]]

LEAST_SIDE, LEAST_FRAMES = 64, 4
"""Clips of less cannot be judged."""
_MOST_SIDE, _MOST_FRAMES = 256, 16
_PERIODS = (2, 4, 8, 16, 32)
_BANDS, _TIME_BANDS = 12, 6
_BLOCK = 8
_QUANTILES = (5, 25, 50, 75, 95)
_EPS = 1e-3


def traces(frames: NDArray[np.uint8]) -> Array:
    """Return the traces of a clip, (d,), in the order of `trace_names`.

    Args:
        frames: Frames, uint8, (t, h, w, 3), RGB; t ≥ 4, h and w ≥ 64. The first 16 frames and
            their middle, up to 256 pixels a side, are looked at.
    """
    return np.array(list(_measured(frames).values()), np.float32)


@cache
def trace_names() -> tuple[str, ...]:
    """Return the names of the traces."""
    return tuple(_measured(np.zeros((LEAST_FRAMES, LEAST_SIDE, LEAST_SIDE, 3), np.uint8)))


def _measured(frames: NDArray[np.uint8]) -> Mapping[str, float]:
    x_thwc = _middle(frames[:_MOST_FRAMES])
    y_thw = luma(x_thwc)
    residual = _second_difference(y_thw)
    change = np.diff(y_thw, axis=0)
    return {
        **_spectrum("spectrum", y_thw, _BANDS),
        **_periods(y_thw),
        **_blocks("residual", residual),
        **_shape(residual, y_thw),
        **_colour(x_thwc),
        **_spectrum("change", change, _TIME_BANDS),
        **_blocks("change", change),
        **_course(residual, change, y_thw),
    }


def _middle(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frames.shape[1:3]
    top, left = (max(0, side - _MOST_SIDE) // 2 for side in (height, width))
    return frames[:, top : top + _MOST_SIDE, left : left + _MOST_SIDE]


def _second_difference(y_thw: Array) -> Array:
    """Return the second difference over rows and columns, a quarter of Fridrich's 3 × 3 filter."""
    return np.diff(np.diff(y_thw, 2, axis=1), 2, axis=2) / 4


def _spectrum(name: str, y_thw: Array, bands: int) -> dict[str, float]:
    """Return log power in rings of spatial frequency, 1/32 to 1/2 cycles per pixel."""
    _, height, width = y_thw.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.square(np.abs(np.fft.rfft2(y_thw * window))).mean(0) / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    edges = np.geomspace(1 / 32, 1 / 2, bands + 1)
    rings = np.digitize(radius, edges)
    return {
        f"{name} {ring}": _log(power[rings == ring].mean() if (rings == ring).any() else 0.0)
        for ring in range(1, bands + 1)
    }


def _periods(y_thw: Array) -> dict[str, float]:
    """Return how strongly the second difference repeats every few pixels, wherever that begins."""
    profiles = [np.abs(np.diff(y_thw, 2, axis=axis)).mean((0, 3 - axis)) for axis in (1, 2)]
    return {
        f"period {period}": float(
            np.mean([_log(_wave(profile, period), 1e-4) for profile in profiles])
        )
        for period in _PERIODS
    }


def _wave(profile: Array, period: int) -> float:
    """Return the strength of a period, fundamental and harmonics, as a share of the mean."""
    folded = profile[: len(profile) // period * period].reshape(-1, period).mean(0)
    return float(folded.std() / (folded.mean() + _EPS))


def _blocks(name: str, values_thw: Array) -> dict[str, float]:
    """Return quantiles of the log deviation in blocks: smooth and busy places apart."""
    frames, height, width = values_thw.shape
    rows, columns = height // _BLOCK, width // _BLOCK
    whole = values_thw[:, : rows * _BLOCK, : columns * _BLOCK]
    spread = whole.reshape(frames, rows, _BLOCK, columns, _BLOCK).std((2, 4))
    levels = np.percentile(spread, _QUANTILES)
    return {f"{name} {q}%": _log(v, 1e-2) for q, v in zip(_QUANTILES, levels, strict=True)}


def _shape(residual: Array, y_thw: Array) -> dict[str, float]:
    """Return what the residual's values and neighbours look like."""
    size = np.abs(residual)
    energy = float(np.mean(residual**2))
    across, down = (np.abs(np.diff(y_thw, axis=axis)).mean() for axis in (2, 1))
    return {
        "residual zero": float((size < 0.3).mean()),
        "residual tails": _log(float(np.mean(residual**4)) / (energy**2 + _EPS)),
        "residual beside": _correlation(residual[..., 1:], residual[..., :-1]),
        "residual two beside": _correlation(residual[..., 2:], residual[..., :-2]),
        "residual below": _correlation(residual[:, 1:], residual[:, :-1]),
        "residual two below": _correlation(residual[:, 2:], residual[:, :-2]),
        "across over down": _log(across) - _log(down),
    }


def _colour(x_thwc: NDArray[np.uint8]) -> dict[str, float]:
    """Return how the residuals of the channels go together."""
    red, green, blue = (_second_difference(x_thwc[..., c].astype(np.float32)) for c in range(3))
    return {
        "red with green": _correlation(red, green),
        "blue with green": _correlation(blue, green),
        "red without green": _log(np.mean((red - green) ** 2)) - _log(np.mean(green**2)),
        "blue without green": _log(np.mean((blue - green) ** 2)) - _log(np.mean(green**2)),
    }


def _course(residual: Array, change: Array, y_thw: Array) -> dict[str, float]:
    """Return how noise, motion, brightness and sharpness go on over time."""
    sharpness = np.log(np.abs(residual).mean((1, 2)) + _EPS)
    return {
        "noise kept": _correlation(residual[1:], residual[:-1]),
        "noise kept twice": _correlation(residual[2:], residual[:-2]),
        "change kept": _correlation(change[1:], change[:-1]),
        "change frozen": float((np.abs(change) < 0.5).mean()),
        "acceleration": _log(np.abs(np.diff(change, axis=0)).mean()) - _log(np.abs(change).mean()),
        "flicker": _log(np.diff(y_thw.mean((1, 2)), 2).std()),
        "sharpness flicker": _log(np.diff(sharpness, 2).std()),
    }


def _correlation(a: Array, b: Array) -> float:
    norm = np.sqrt(np.sum(a * a, dtype=np.float64) * np.sum(b * b, dtype=np.float64))
    return float(np.sum(a * b, dtype=np.float64) / (norm + 1.0))


def _log(value: float | np.floating[Any], floor: float = _EPS) -> float:
    return float(np.log(float(value) + floor))
