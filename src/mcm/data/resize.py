"""Resize and crop: fill the wanted size, cut what stands over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
CENTRE = (0.5, 0.5)
MOST_PIXELS = 2**26
"""Pixels of a picture or frame that is decoded; twice those of 8K."""
WHITE, BLACK = 255, 0
_BLOCK = 2**20
"""Pixels that are worked on at a time, so that large pictures are not copied as a whole."""


def crop_box(
    height: int, width: int, size: tuple[int, int], anchor: tuple[float, float] = CENTRE
) -> tuple[float, float, float, float]:
    """Return the largest box (left, top, right, bottom) of the aspect ratio of `size`.

    Args:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        size: Wanted (height, width).
        anchor: Where the box lies in the room there is, (vertical, horizontal) in [0, 1].
    """
    scale = min(height / size[0], width / size[1])
    box_height, box_width = min(size[0] * scale, height), min(size[1] * scale, width)
    top, left = anchor[0] * (height - box_height), anchor[1] * (width - box_width)
    return left, top, min(left + box_width, width), min(top + box_height, height)


def fit(pixels_hwc: Pixels, size: tuple[int, int], anchor: tuple[float, float] = CENTRE) -> Pixels:
    """Crop to the aspect ratio of `size` and resize with an antialiased bicubic filter.

    Args:
        pixels_hwc: Picture, uint8 (h w 3).
        size: Wanted (height, width).
        anchor: As `crop_box`; (0.5, 0.5) is a centre crop.

    Returns:
        uint8 (H W 3).
    """
    height, width = pixels_hwc.shape[:2]
    if (height, width) == tuple(size):
        return pixels_hwc
    return np.asarray(fit_image(Image.fromarray(np.ascontiguousarray(pixels_hwc)), size, anchor))


def fit_image(
    image: Image.Image, size: tuple[int, int], anchor: tuple[float, float] = CENTRE
) -> Image.Image:
    """As `fit`, of a picture that Pillow holds; transparent pixels lend no colour to others."""
    box = crop_box(image.height, image.width, size, anchor)
    return image.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box)


def lay_over(pixels_hwc: Pixels, ground: int = WHITE) -> Pixels:
    """Lay a picture with straight alpha over a grey level: round(α·C + (1 − α)·G).

    Args:
        pixels_hwc: uint8 (h w 4).
        ground: G, 0 to 255.

    Returns:
        uint8 (h w 3).
    """
    height, width = pixels_hwc.shape[:2]
    laid = np.empty((height, width, 3), np.uint8)
    for rows in row_blocks(height, width):
        alpha = pixels_hwc[rows, :, 3:].astype(np.uint16)
        mixed = pixels_hwc[rows, :, :3] * alpha + ground * (255 - alpha)
        laid[rows] = (mixed + 127) // 255
    return laid


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of a picture in blocks of about a million pixels."""
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, height, step):
        yield slice(start, start + step)
