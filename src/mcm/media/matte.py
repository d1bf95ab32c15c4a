"""Cutting an object out of a plain background: soft alpha, and colours without the background's.

In a picture C = α·F + (1 − α)·B of a foreground F over a background B, a plain B is known
everywhere from the border of the frame. F at the object's edge is taken from the nearest pixel that
is surely inside; then α = |C − B| / |F − B|, and F = B + (C − B)/α takes the background's colour
out again. Smith and Blinn, *Blue Screen Matting*, 1996, has the algebra, and why F must be assumed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcm.errors import UserError
from mcm.media.containers import Frames

Array = NDArray[np.float32]

_RING = 0.04
"""Share of the frame's shorter side that counts as its border, on each side."""
_LEAST_PLAIN = 0.6
"""Share of the border that must be background."""
_TOLERANCE = 10.0
"""Levels by which compression and the decoder may move a background's colour."""
_MOST_NOISE = 16.0
_ROUNDS = 8
_BAND = 3
"""Pixels from the background to where a pixel is surely the object's own."""
_LEAST_AREA = 9
"""Pixels of the smallest spot that counts as object."""


def cut_out(frames_thwc: Frames) -> Frames:
    """Return frames whose plain background is transparent.

    Args:
        frames_thwc: RGB, uint8, (t, h, w, 3), each over one colour or a smooth gradient that
            fills at least 60 % of the frame's border.

    Returns:
        RGB and straight alpha, uint8, (t, h, w, 4). Colours go on a little way under the
        transparent part, so that a filtered texture shows no fringe.

    Raises:
        UserError: The background of a frame is not plain.
    """
    return np.stack([_cut_out(frame, number) for number, frame in enumerate(frames_thwc)])


def fit_background(frame_hwc: Frames) -> tuple[Array, float, float]:
    """Fit a surface of second degree to the colours of a frame's border.

    Pixels of an object that reaches over the border are found as outliers and left out.

    Args:
        frame_hwc: RGB, uint8, (h, w, 3).

    Returns:
        The background, (h, w, 3); the noise around it in levels; the share of the border that
        belongs to it.
    """
    height, width, _ = frame_hwc.shape
    terms_hwk = _terms(height, width)
    ring = _ring(height, width)
    known_nk, colours_nc = terms_hwk[ring], frame_hwc[ring].astype(np.float32)
    surface: NDArray[Any] = np.zeros((known_nk.shape[1], 3), np.float32)
    surface[0] = np.median(colours_nc, axis=0)
    for _ in range(_ROUNDS):
        error_n = np.linalg.norm(colours_nc - known_nk @ surface, axis=1)
        noise = 1.4826 * float(np.median(error_n))
        near = error_n <= max(2.5 * noise, _TOLERANCE)
        surface = np.linalg.lstsq(known_nk[near], colours_nc[near], rcond=None)[0]
    error_n = np.linalg.norm(colours_nc - known_nk @ surface, axis=1)
    share = float(np.mean(error_n <= _TOLERANCE + _MOST_NOISE))
    return terms_hwk @ surface, float(np.median(error_n)), share


def _cut_out(frame_hwc: Frames, number: int) -> Frames:
    background_hwc, noise, share = fit_background(frame_hwc)
    if share < _LEAST_PLAIN or noise > _MOST_NOISE:
        raise UserError(
            f"alpha: the background of frame {number} is not plain (only {share:.0%} of its border "
            "is one colour or gradient); ask for one in the prompt, as 'on a blue background'"
        )
    floor = max(3 * noise, _TOLERANCE)
    colour_hwc = frame_hwc.astype(np.float32)
    distance_hw = np.linalg.norm(colour_hwc - background_hwc, axis=-1)
    inside_hw = _without_specks(distance_hw > floor)
    sample_hwc = _nearest_inside(colour_hwc, distance_hw, inside_hw)
    alpha_hw = _alpha(distance_hw, sample_hwc, background_hwc, inside_hw, floor)
    pure_hwc = _despilled(colour_hwc, background_hwc, sample_hwc, alpha_hw)
    shown_hwc = np.where(_grown(inside_hw)[..., None], pure_hwc, colour_hwc)
    rgba = np.concatenate([shown_hwc, 255 * alpha_hw[..., None]], axis=-1)
    cut: Frames = np.rint(rgba).clip(0, 255).astype(np.uint8)
    return cut


def _alpha(
    distance_hw: Array, sample_hwc: Array, background_hwc: Array, inside_hw: Any, floor: float
) -> Array:
    """α = |C − B| / |F − B| in the band along the background, 1 within and 0 outside of it."""
    full_hw = np.linalg.norm(sample_hwc - background_hwc, axis=-1)
    noise = floor / 2
    soft_hw = ((distance_hw - noise) / np.maximum(full_hw - noise, 1)).clip(0, 1)
    deep_hw = ndimage.distance_transform_edt(inside_hw) > _BAND
    edge_hw = ndimage.binary_dilation(inside_hw)
    alpha: Array = np.where(deep_hw, 1, np.where(edge_hw, soft_hw, 0)).astype(np.float32)
    return alpha


def _despilled(
    colour_hwc: Array, background_hwc: Array, sample_hwc: Array, alpha_hw: Array
) -> Array:
    """F = B + (C − B)/α, and more of the sample the less α there is to divide by."""
    alpha_hw1 = alpha_hw[..., None]
    unmixed = background_hwc + (colour_hwc - background_hwc) / np.maximum(alpha_hw1, 1e-3)
    pure: Array = alpha_hw1 * unmixed.clip(0, 255) + (1 - alpha_hw1) * sample_hwc
    return pure


def _nearest_inside(colour_hwc: Array, distance_hw: Array, inside_hw: Any) -> Array:
    """Return for each pixel the colour of the nearest that is surely the object's own.

    That is one `_BAND` deep, or, where the object is thinner, its ridge: the pixels whose
    neighbours are no farther from the background's colour.
    """
    depth_hw = ndimage.distance_transform_edt(inside_hw)
    ridge_hw = distance_hw >= ndimage.maximum_filter(distance_hw, 2 * _BAND + 1)
    thin_hw = ndimage.maximum_filter(depth_hw, 2 * _BAND + 1) < _BAND
    sure_hw = inside_hw & ((depth_hw >= _BAND) | (ridge_hw & thin_hw))
    if not sure_hw.any():
        return colour_hwc
    nearest = ndimage.distance_transform_edt(~sure_hw, return_distances=False, return_indices=True)
    found: Array = colour_hwc[nearest[0], nearest[1]]
    return found


def _without_specks(inside_hw: Any) -> Any:
    labels_hw, count = ndimage.label(inside_hw, np.ones((3, 3)))
    areas = np.bincount(labels_hw.ravel(), minlength=count + 1)
    areas[0] = 0
    return areas[labels_hw] >= _LEAST_AREA


def _grown(inside_hw: Any) -> Any:
    return ndimage.binary_dilation(inside_hw, iterations=_BAND)


def _terms(height: int, width: int) -> Array:
    """Return 1, x, y, x², xy, y² of every pixel, (h, w, 6)."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).astype(np.float32)


def _ring(height: int, width: int) -> NDArray[np.bool_]:
    """Return where the border of a frame is."""
    depth = max(2, round(_RING * min(height, width)))
    ring = np.ones((height, width), np.bool_)
    ring[depth:-depth, depth:-depth] = False
    return ring
