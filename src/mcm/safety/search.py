"""Finding the mark: a search over scale and place, with a bound on false alarms.

Every hypothesis folds what is seen into one tile of weights W. Of a picture that is not marked, W
has nothing to do with the keyed signs s, so by Hoeffding's inequality P(Σ W s ≥ z ‖W‖) ≤
exp(−z²/2), for each hypothesis and each of the 2³² tiles. Half of `FALSE_ALARMS` is for the one
hypothesis that the frames were neither cropped nor stretched, the other half for all others: the
most usual case then needs the least evidence, and the sum over all stays below `FALSE_ALARMS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcm.safety.grid import Array, averaging, whitened
from mcm.safety.tile import PAYLOAD_BITS, SIDE, pilot, read_tile, tile
from mcm.safety.watermark import LEAST_SIDE, luma

FALSE_ALARMS = 1e-9
"""Bound of the probability that a clip without mark is said to bear one."""
UNMOVED, ANYWHERE = 1, 2**23
"""Hypotheses on scale and place: the frames as they were marked, or cropped and stretched."""

_FRAMES, _QUICK_FRAMES = 16, 3
_FINEST = 4
_MOST_TILES = 4
"""Tiles of a long side that are looked at: the mark repeats itself."""
_SCALES = np.exp(np.arange(0, 0.42, 0.02))
_MOST_STRETCH = 0.25
_CANDIDATES = 6
_HALVES = tuple((y, x) for y in (0.0, 0.5) for x in (0.0, 0.5))
_QUARTERS = tuple((y / 4, x / 4) for y in range(4) for x in range(4))
_NUDGES = tuple((y, x) for y in (-0.008, 0.0, 0.008) for x in (-0.008, 0.0, 0.008))


@dataclass(frozen=True)
class Mark:
    """A mark that was found.

    Attributes:
        payload: What it says, 0 to 2³² − 1.
        strength: z, above `threshold` of its hypotheses.
        hypotheses: `UNMOVED` or `ANYWHERE`.
    """

    payload: int
    strength: float
    hypotheses: int

    @property
    def false_alarm(self) -> float:
        """Bound of the probability that a clip without mark looks as strongly marked."""
        tried = math.log(2 * self.hypotheses * 2**PAYLOAD_BITS)
        return math.exp(min(0.0, tried - self.strength**2 / 2))


def threshold(hypotheses: int) -> float:
    """Return the strength z at which a mark counts among so many hypotheses."""
    return math.sqrt(2 * math.log(2 * hypotheses * 2**PAYLOAD_BITS / FALSE_ALARMS))


class _Match(NamedTuple):
    score: float
    height: float
    width: float
    tile: Array


class _Seen:
    """The brightness of frames, (t, h, w), as it falls into the cells of any grid."""

    def __init__(self, luma_thw: Array) -> None:
        self.luma_thw = luma_thw
        self._height, self._rows = 0.0, dict[float, Array]()

    def folded(self, height: float, width: float, down: float, right: float) -> Array:
        """Return the weights of a grid's cells, all frames and tiles together, (SIDE, SIDE)."""
        columns = averaging(self.luma_thw.shape[2], width, right)
        return _fold(whitened(self._averaged(height, down) @ columns.T).sum(0))

    def _averaged(self, height: float, down: float) -> Array:
        """Return the rows of a grid, (t, i, w): most of the work, and the same for many widths.

        Those of the height that was asked for last are kept, as widths are tried height by height.
        """
        if height != self._height:
            self._height, self._rows = height, {}
        if down not in self._rows:
            rows = averaging(self.luma_thw.shape[1], height, down)
            self._rows[down] = rows @ self.luma_thw
        return self._rows[down]


def find(frames: NDArray[np.uint8]) -> Mark | None:
    """Return the mark of frames, uint8, (t, h, w, 3), or ``None``; looks at 16 of them."""
    if not len(frames) or min(frames.shape[1:3]) < SIDE or max(frames.shape[1:3]) > 1 << 14:
        return None
    most = _MOST_TILES * min(frames.shape[1:3])
    frames = frames[:, :most, :most]
    luma_thw = np.stack([_shrunk(luma(frame)) for frame in _spread(frames, _FRAMES)])
    size = min(luma_thw.shape[1:]) / SIDE
    seen, quick = _Seen(luma_thw), _Seen(luma_thw[:: -(-len(luma_thw) // _QUICK_FRAMES)])
    mark = _read([seen.folded(size, size, 0.0, 0.0)], UNMOVED)
    if mark is not None or min(frames.shape[1:3]) < LEAST_SIDE // 2:
        return mark
    alike = [(scale, scale) for scale in _SCALES]
    stretched = [
        (high, wide)
        for high in _SCALES
        for wide in _SCALES
        if high != wide and abs(math.log(high / wide)) < _MOST_STRETCH
    ]
    for scales in (alike, stretched):
        coarse = (_match(quick, size * high, size * wide, _HALVES) for high, wide in scales)
        best = sorted(coarse, key=lambda match: -match.score)[:_CANDIDATES]
        mark = _read((_refined(seen, match).tile for match in best), ANYWHERE)
        if mark is not None:
            return mark
    return None


def _refined(seen: _Seen, match: _Match) -> _Match:
    nudged = (
        _match(seen, match.height * (1 + high), match.width * (1 + wide), _HALVES)
        for high, wide in _NUDGES
    )
    best = max(nudged, key=lambda found: found.score)
    return _match(seen, best.height, best.width, _QUARTERS)


def _match(
    seen: _Seen, height: float, width: float, shifts: Iterable[tuple[float, float]]
) -> _Match:
    """Return the best fit of the pilot over all places of a grid of cells height × width."""
    weights_kij = np.stack([seen.folded(height, width, *shift) for shift in shifts])
    scores = _pilot_scores(weights_kij)
    which, down, right = np.unravel_index(int(scores.argmax()), scores.shape)
    turned = np.roll(weights_kij[which], (-int(down), -int(right)), (0, 1))
    return _Match(float(scores.max()), height, width, turned)


def _pilot_scores(weights_kij: Array) -> Array:
    """Return z of the pilot for every place of the tile's corner, (k, SIDE, SIDE)."""
    powers_pkij = np.stack([weights_kij, weights_kij**2])
    spectra = np.fft.rfft2(powers_pkij) * _pilot_spectra()[:, None]
    sums, squares = np.fft.irfft2(spectra, (SIDE, SIDE))
    scores: Array = sums / np.sqrt(np.maximum(squares, 1e-9))
    return scores


@cache
def _pilot_spectra() -> NDArray[np.complex64]:
    """Return the spectra that count the pilot's signs and its cells, (2, SIDE, SIDE // 2 + 1)."""
    spectra: NDArray[np.complex64] = np.conj(np.fft.rfft2(np.stack(pilot())))
    return spectra


def _read(tiles: Iterable[Array], hypotheses: int) -> Mark | None:
    """Return the strongest mark that the tiles hold, if its strength is above the bound."""
    marks = []
    for weights in tiles:
        payload = read_tile(weights)
        norm = float(np.linalg.norm(weights))
        if payload is not None and norm > 0:
            strength = float((weights * tile(payload)).sum()) / norm
            marks.append(Mark(payload, strength, hypotheses))
    strong = [mark for mark in marks if mark.strength > threshold(hypotheses)]
    return max(strong, key=lambda mark: mark.strength, default=None)


def _fold(weights: Array) -> Array:
    """Add up a map of cells tile by tile, (SIDE, SIDE)."""
    rows, columns = weights.shape
    padded = np.zeros((rows + -rows % SIDE, columns + -columns % SIDE), weights.dtype)
    padded[:rows, :columns] = weights
    folded: Array = padded.reshape(-1, SIDE, padded.shape[1] // SIDE, SIDE).sum((0, 2))
    return folded


def _shrunk(seen: Array) -> Array:
    """Average whole blocks of pixels of a frame (h, w) while a cell keeps four pixels or more."""
    factor = int(min(seen.shape) / SIDE / _FINEST)
    if factor < 2:
        return seen
    height, width = (side // factor for side in seen.shape)
    whole = seen[: height * factor, : width * factor]
    averaged: Array = whole.reshape(height, factor, width, factor).mean((1, 3))
    return averaged


def _spread(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return at most ``count`` frames, evenly spaced."""
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    chosen: NDArray[np.uint8] = frames[places]
    return chosen
