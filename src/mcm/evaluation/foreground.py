"""What stands out from the background: each row of a frame has one background colour.

The watermark bar, where there is one, is a background colour of its rows too; what it takes
from the contrast of the object behind it is given back, and its text is filled in from beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcm.data.fluent.render import watermark

Array = NDArray[np.float32]

BAR_ROWS = (82, 106)
"""First and last row (of 128, exclusive) that the watermark bar may touch."""

_BAR_COLOUR = (40.0, 40.0, 48.0)
_REFERENCE_SIZE = 128
_BORDER_SHARE = 3 / 128
_LARGEST_OPACITY = 0.6
_FAINTEST, _PLAIN = 14.0, 44.0


@dataclass(frozen=True, eq=False)
class Foreground:
    """The object of a clip.

    Attributes:
        excess_thwc: Colour above the background of the row.
        weight_thw: How surely a pixel is object, 0 to 1.
        row_hc: Background colour of every row.
        opacity_h: Opacity of a dark bar over every row, 0 where there is none.
    """

    excess_thwc: Array
    weight_thw: Array
    row_hc: Array
    opacity_h: Array


def find_foreground(frames_thwc: NDArray[np.uint8]) -> Foreground:
    """Separate the object of a clip from its background."""
    frames = frames_thwc.astype(np.float32)
    row_hc = background_rows(frames)
    opacity_h = bar_opacity(row_hc)
    excess = (frames - row_hc[:, None]) / (1 - opacity_h)[:, None, None]
    excess = _fill_text(excess)
    distance = np.sqrt((excess**2).sum(-1))
    weight = np.clip((distance - _FAINTEST) / (_PLAIN - _FAINTEST), 0, 1)
    return Foreground(excess, _largest_part(weight), row_hc, opacity_h)


def background_rows(frames_thwc: Array) -> Array:
    """Return the colour of every row (h, c): the median over time of the outermost columns."""
    columns = max(round(frames_thwc.shape[2] * _BORDER_SHARE), 1)
    border = np.concatenate([frames_thwc[:, :, :columns], frames_thwc[:, :, -columns:]], axis=2)
    row_hc: Array = np.median(border, axis=(0, 2)).astype(np.float32)
    return row_hc


def bar_rows(height: int) -> slice:
    """Return the rows that the watermark bar may touch in frames of a height."""
    first, last = (round(row * height / _REFERENCE_SIZE) for row in BAR_ROWS)
    return slice(first, last)


def bar_opacity(row_hc: Array) -> Array:
    """Return the opacity a (h,) in row = (1 − a)·background + a·dark, least squares over colours.

    The background under the bar continues the straight shade of the rows around it.
    """
    rows = np.arange(len(row_hc))
    bar = bar_rows(len(row_hc))
    outside = np.ones(len(rows), dtype=bool)
    outside[bar] = False
    slope, offset = np.polyfit(rows[outside], row_hc[outside], 1)
    expected = rows[:, None] * slope + offset
    towards = np.asarray(_BAR_COLOUR) - expected
    opacity = ((row_hc - expected) * towards).sum(1) / (towards**2).sum(1)
    opacity[outside] = 0
    return np.where(opacity > 0.05, opacity.clip(0, _LARGEST_OPACITY), 0).astype(np.float32)


@lru_cache(maxsize=4)
def _text_mask(height: int, width: int) -> Array:
    """Return 1 where the watermark's text may be, 0 elsewhere (h, w)."""
    alpha = np.asarray(watermark(_REFERENCE_SIZE), dtype=np.float32)[..., 3]
    mask = ndimage.maximum_filter((alpha > 110).astype(np.float32), size=3)
    scale = (height / _REFERENCE_SIZE, width / _REFERENCE_SIZE)
    resized: Array = (ndimage.zoom(mask, scale, order=0) > 0.5).astype(np.float32)
    return resized


def _fill_text(excess_thwc: Array, sigma: float = 2.0) -> Array:
    """Replace pixels of the text by a Gaussian mean of the pixels around that are none."""
    _, height, width, _ = excess_thwc.shape
    mask = _text_mask(height, width)
    bar = slice(max(bar_rows(height).start - 6, 0), bar_rows(height).stop + 6)
    keep = (1 - mask)[bar]
    blurred = ndimage.gaussian_filter(
        excess_thwc[:, bar] * keep[..., None], (0, sigma, sigma, 0), truncate=3
    )
    share = ndimage.gaussian_filter(keep, sigma, truncate=3)
    filled = excess_thwc.copy()
    filled[:, bar] = np.where(
        mask[bar][..., None] > 0, blurred / np.maximum(share, 1e-3)[..., None], excess_thwc[:, bar]
    )
    return filled


def _largest_part(weight_thw: Array, reach: int = 4) -> Array:
    """Keep what hangs together, over small gaps, with the heaviest part of each frame."""
    kept = np.zeros_like(weight_thw)
    for time, weight in enumerate(weight_thw):
        near = ndimage.maximum_filter(weight > 0.3, size=2 * reach + 1)
        labels, count = ndimage.label(near)
        if count:
            sums = ndimage.sum_labels(weight, labels, np.arange(1, count + 1))
            kept[time] = weight * (labels == 1 + int(np.argmax(sums)))
    return kept
