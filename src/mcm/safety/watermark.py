"""The invisible mark: a keyed pattern of soft cells in the brightness of every frame.

A spread-spectrum mark (Cox et al., *Secure Spread Spectrum Watermarking for Multimedia*, 1997)
that takes the picture's own interference into account as it is put in (Malvar and Florêncio,
*Improved Spread Spectrum*, 2003). The pattern is laid out relative to the frame's shorter side, so
that resizing does not touch it, and is the same in all frames, so that trimming and other frame
rates do not; `mcm.safety.search` finds it again, in crops too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcm.safety.grid import Array, averaging, contrast, spreading
from mcm.safety.tile import PAYLOAD_BITS, SIDE, tile

__all__ = ["LEAST_SIDE", "PAYLOAD_BITS", "embed", "luma"]

Frames = NDArray[np.uint8]

LEAST_SIDE = 64
"""Frames whose shorter side is less cannot hold the mark and stay as they are."""
_RED, _GREEN, _BLUE = 77, 150, 29
_WEAKEST, _USUAL, _STRONGEST = 0.8, 2.0, 4.0
_PER_ACTIVITY = 0.35
_FRAGILE = 24
_MOST_CARE = 1.6
_LARGEST_RMS = 255 / 10 ** (40.6 / 20)
"""A change of this size leaves a peak signal-to-noise ratio of 40.6 dB, before it is rounded."""


def embed(frames: Frames, payload: int) -> Frames:
    """Return frames, uint8, (t, h, w, 3), that bear a payload, 0 to 2³² − 1, in each of them."""
    _, height, width, _ = frames.shape
    if min(height, width) < LEAST_SIDE:
        return frames
    size = min(height, width) / SIDE
    return np.stack([_marked(frame, size, payload) for frame in frames])


def luma(frames: NDArray[np.uint8]) -> Array:
    """Return the brightness, (…, h, w), 0 to 255, of frames (…, h, w, 3)."""
    weighted = frames[..., 0].astype(np.uint16) * _RED
    weighted += frames[..., 1].astype(np.uint16) * _GREEN
    weighted += frames[..., 2].astype(np.uint16) * _BLUE
    return weighted.astype(np.float32) / 256


def _marked(frame: Frames, size: float, payload: int) -> Frames:
    height, width, _ = frame.shape
    means = averaging(height, size) @ luma(frame) @ averaging(width, size).T
    steps = _steps(means, payload)
    change = spreading(height, size) @ steps @ spreading(width, size).T
    rms = float(np.sqrt(np.mean(change * change)))
    change *= min(1.0, _LARGEST_RMS / max(rms, 1e-6))
    marked = frame.astype(np.int16)
    marked += np.rint(change).astype(np.int16)[..., None]
    return np.clip(marked, 0, 255, out=marked).astype(np.uint8)


def _steps(means: Array, payload: int) -> Array:
    """Return by how much each cell is brightened: more where the picture points the other way."""
    rows, columns = means.shape
    repeats = -(-rows // SIDE), -(-columns // SIDE)
    signs = np.tile(tile(payload), repeats)[:rows, :columns]
    host = contrast(means[None])[0]
    needed = np.clip(_USUAL - signs * host, _WEAKEST, _STRONGEST)
    bearable = _WEAKEST + _USUAL + _PER_ACTIVITY * np.abs(host)
    wanted: Array = np.minimum(needed, bearable) * signs
    return wanted * _care(means)


def _care(means: Array) -> Array:
    """Return a factor of each cell: more where the mark outlasts a change of tone.

    Cells near black or white saturate under a little more contrast or brightness, and what they
    bear is lost. The rest then gets as much energy as all cells would have had together.
    """
    fragile = np.abs(means - 127.5) > 127.5 - _FRAGILE
    sturdy = max(1 - float(fragile.mean()), 1e-3)
    factors: Array = np.where(fragile, 1.0, min(sturdy**-0.5, _MOST_CARE)).astype(np.float32)
    return factors
