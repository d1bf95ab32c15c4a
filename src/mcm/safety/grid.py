"""Between pixels and the cells of the mark's grid, one axis at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_FLOOR, _LIMIT = 0.6, 1.0


def cells(length: float, size: float) -> int:
    """Return how many cells of a size in pixels cover a length, the last one perhaps in part."""
    return int(np.ceil(length / size - 1e-6))


@lru_cache(maxsize=256)
def averaging(length: int, size: float, shift: float = 0.0) -> Array:
    """Return the matrix (cells, length) that averages pixels into cells of ``size`` pixels.

    The grid begins ``shift`` cells before the first pixel.
    """
    start = -shift * size
    edges = start + size * np.arange(cells(length - start, size) + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: Array = (np.clip(overlap, 0, None) / size).astype(np.float32)
    return shares


@lru_cache(maxsize=64)
def spreading(length: int, size: float) -> Array:
    """Return the matrix (length, cells) that draws cells as pixels, with soft edges."""
    centres = (np.arange(cells(length, size)) + 0.5) * size
    distance = np.abs(np.arange(length)[:, None] + 0.5 - centres) / size
    drawn: Array = np.clip(1.25 - 1.5 * distance, 0, 1).astype(np.float32)
    return drawn


def contrast(means_tij: Array) -> Array:
    """Return how far each cell's mean, (t, i, j), is from that of the 3 × 3 cells around it."""
    return means_tij - _around(means_tij)


def whitened(means_tij: Array) -> Array:
    """Return the contrast of cells, weighted down where the picture itself is busy.

    Busy is what the same 3 × 3 cells say: a wider look would spread the edge of an object on a
    plain ground over cells that bear the mark undisturbed, which are few when the ground is lost
    to saturation.
    """
    seen = contrast(means_tij)
    noise = np.sqrt(_around(seen * seen)) + _FLOOR
    weighted: Array = np.clip(seen / noise, -_LIMIT, _LIMIT) / noise
    return weighted


def _around(values_tij: Array) -> Array:
    """Return the mean of the 3 × 3 cells around each; edges are repeated."""
    _, rows, columns = values_tij.shape
    means: Array = _thirds(rows) @ values_tij @ _thirds(columns)
    return means


@lru_cache(maxsize=64)
def _thirds(count: int) -> Array:
    """Return the matrix (count, count) that averages each of a row with its neighbours."""
    near = np.eye(count) + np.eye(count, k=1) + np.eye(count, k=-1)
    near[[0, -1], [0, -1]] += 1
    thirds: Array = (near / 3).astype(np.float32)
    return thirds
