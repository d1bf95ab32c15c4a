"""Dense optical flow: pyramidal, iterative Lucas–Kanade on luminance.

Lucas and Kanade, *An Iterative Image Registration Technique*, 1981; coarse to fine with warping
as in Bouguet, *Pyramidal Implementation of the Lucas Kanade Feature Tracker*, 2000. It uses numpy
and scipy only, so that it runs and gives the same numbers everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mcm.evaluation.arrays import pack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import Observation

Array = NDArray[np.float32]

LINES = 64
"""Larger frames are reduced to this height, so that sizes compare."""

UNIT = 128
"""Kept flow is in pixels of frames of so many lines."""

GRID = 8
"""Cells across and down of the coarse flow that is kept."""

_SMALLEST_SIDE = 8
_WINDOW = 2.0
_STEPS = 3
_LARGEST_STEP = 1.5
_SMALLEST_STEP = 1e-3
_STIFFNESS = 2.0
_SMOOTH = 0.7


def luminance(frames_thwc: NDArray[np.uint8]) -> Array:
    """Return luminance (t, h, w), 0 to 255, at most 64 lines high, averaged over areas."""
    _, height, width, _ = frames_thwc.shape
    lines = min(height, LINES)
    size = (max(round(width * lines / height), 1), lines)
    greys = (Image.fromarray(frame).convert("L") for frame in frames_thwc)
    return np.stack(
        [np.asarray(grey.resize(size, Image.Resampling.BOX), dtype=np.float32) for grey in greys]
    )


def dense_flow(first_phw: Array, second_phw: Array) -> Array:
    """Return the flow (p, h, w, 2) in pixels, x before y, with first(x) = second(x + flow).

    Where nothing is to be seen, as on a flat background, it stays 0.

    Args:
        first_phw: Earlier frames of each pair, luminance 0 to 255.
        second_phw: Later frames.
    """
    flow = None
    for first, second in reversed(_pyramid(first_phw, second_phw)):
        flow = np.zeros((*first.shape, 2), np.float32) if flow is None else _grow(flow, first.shape)
        for _ in range(_STEPS):
            flow = _smooth(flow + _step(first, warp(second, flow)))
    assert flow is not None
    return flow


def warp(image_phw: Array, flow_phw2: Array) -> Array:
    """Return image(x + flow), bilinear, the border repeated."""
    pairs, height, width = image_phw.shape
    pair, y, x = np.meshgrid(np.arange(pairs), np.arange(height), np.arange(width), indexing="ij")
    places = (pair, y + flow_phw2[..., 1], x + flow_phw2[..., 0])
    moved: Array = ndimage.map_coordinates(image_phw, places, order=1, mode="nearest")
    return moved


def coarse(flow_phw2: Array, cells: int = GRID) -> Array:
    """Return the mean flow of cells, (p, cells, cells, 2)."""
    rows = np.array_split(np.arange(flow_phw2.shape[1]), cells)
    columns = np.array_split(np.arange(flow_phw2.shape[2]), cells)
    bands = np.stack([flow_phw2[:, row].mean(1) for row in rows], axis=1)
    return np.stack([bands[:, :, column].mean(2) for column in columns], axis=2)


def warping_error(first_phw: Array, second_phw: Array, flow_phw2: Array) -> float:
    """Return the mean of |first(x) − second(x + flow)|, 0 (coherent) to 1.

    As in Lai et al., *Learning Blind Video Temporal Consistency*, 2018, but over all pixels: a mask
    of hidden pixels would leave out just what jumps or flickers.
    """
    return float(np.abs(first_phw - warp(second_phw, flow_phw2)).mean() / 255)


class FlowObserver:
    """Keeps of a clip its warping error and its coarse flow between consecutive frames."""

    name = "flow"

    def observe(self, clip: EvaluationClip) -> Observation:
        """Return ``error`` and ``grid`` (t − 1, 8, 8, 2) in pixels at 128 lines."""
        luma = luminance(clip.frames_thwc)
        if len(luma) < 2:
            return {"error": None, "grid": pack(np.zeros((0, GRID, GRID, 2)))}
        first, second = luma[:-1], luma[1:]
        flow = dense_flow(first, second)
        error = round(warping_error(first, second, flow), 6)
        return {"error": error, "grid": pack(UNIT / luma.shape[1] * coarse(flow))}


def _pyramid(first_phw: Array, second_phw: Array) -> list[tuple[Array, Array]]:
    levels = [(first_phw, second_phw)]
    while min(levels[-1][0].shape[1:]) >= 2 * _SMALLEST_SIDE:
        first, second = levels[-1]
        levels.append((_halve(first), _halve(second)))
    return levels


def _halve(image_phw: Array) -> Array:
    smooth: Array = ndimage.gaussian_filter(image_phw, (0, 0.8, 0.8), mode="nearest")
    return smooth[:, ::2, ::2]


def _grow(flow_phw2: Array, shape: tuple[int, ...]) -> Array:
    """Return a flow at twice the resolution: sample k of the coarse level is sample 2k."""
    _, height, width = shape
    pairs = np.arange(len(flow_phw2))
    places = np.meshgrid(pairs, np.arange(height) / 2, np.arange(width) / 2, indexing="ij")
    grown = [
        ndimage.map_coordinates(flow_phw2[..., k], places, order=1, mode="nearest")
        for k in range(2)
    ]
    return 2 * np.stack(grown, axis=-1)


def _step(first_phw: Array, warped_phw: Array) -> Array:
    """Return the least-squares step of every pixel's Gaussian window, damped where it is flat."""
    slopes: list[Array] = list(np.gradient((first_phw + warped_phw) / 2, axis=(1, 2)))
    dy, dx = slopes
    dt = warped_phw - first_phw
    xx, yy = _window(dx * dx) + _STIFFNESS, _window(dy * dy) + _STIFFNESS
    xy, xt, yt = _window(dx * dy), _window(dx * dt), _window(dy * dt)
    determinant = xx * yy - xy * xy
    step = np.stack([xy * yt - yy * xt, xy * xt - xx * yt], axis=-1) / determinant[..., None]
    step[np.abs(step) < _SMALLEST_STEP] = 0  # denormal numbers are slow
    bounded: Array = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP).astype(np.float32)
    return bounded


def _window(product_phw: Array) -> Array:
    product_phw[np.abs(product_phw) < 1e-6] = 0
    summed: Array = ndimage.gaussian_filter(product_phw, (0, _WINDOW, _WINDOW), truncate=3)
    return summed


def _smooth(flow_phw2: Array) -> Array:
    smoothed: Array = ndimage.gaussian_filter(flow_phw2, (0, _SMOOTH, _SMOOTH, 0), truncate=2)
    smoothed[np.abs(smoothed) < _SMALLEST_STEP] = 0
    return smoothed
