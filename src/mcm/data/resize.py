"""Resize and crop: fill the wanted size, cut what stands over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
CENTRE = (0.5, 0.5)


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
    box = crop_box(height, width, size, anchor)
    image = Image.fromarray(np.ascontiguousarray(pixels_hwc))
    resized = image.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def over_white(pixels_hwc: Pixels) -> Pixels:
    """Lay a picture with straight alpha, uint8 (h w 4), over white: uint8 (h w 3)."""
    colour = pixels_hwc[..., :3].astype(np.float32)
    alpha = pixels_hwc[..., 3:].astype(np.float32) / 255
    return np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)
