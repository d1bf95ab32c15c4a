"""Finding the mark: a search over scale and place, with a bound on false alarms.

Every hypothesis folds what is seen into one tile of weights W. Of a picture that is not marked, W
has nothing to do with the keyed signs s, so by Hoeffding's inequality P(Σ W s ≥ z ‖W‖) ≤
exp(−z²/2), for each hypothesis and each of the 2³² tiles. `THRESHOLD` is the z for which the sum
over all of them stays below `FALSE_ALARMS` per clip.
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
_HYPOTHESES = 2**23
THRESHOLD = math.sqrt(2 * math.log(_HYPOTHESES * 2**PAYLOAD_BITS / FALSE_ALARMS))

_FRAMES, _QUICK_FRAMES = 16, 3
_FINEST = 4
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
        strength: z, above `THRESHOLD`.
        false_alarm: Bound of the probability of this strength without a mark.
    """

    payload: int
    strength: float

    @property
    def false_alarm(self) -> float:
        """Bound of the probability that a clip without mark looks as strongly marked."""
        hypotheses = math.log(_HYPOTHESES * 2**PAYLOAD_BITS)
        return math.exp(min(0.0, hypotheses - self.strength**2 / 2))


class _Match(NamedTuple):
    score: float
    height: float
    width: float
    tile: Array


def find(frames: NDArray[np.uint8]) -> Mark | None:
    """Return the mark of frames, uint8, (t, h, w, 3), or ``None``; looks at 16 of them."""
    if not len(frames) or min(frames.shape[1:3]) < SIDE or max(frames.shape[1:3]) > 1 << 14:
        return None
    seen = np.stack([_shrunk(luma(frame)) for frame in _spread(frames, _FRAMES)])
    size = min(seen.shape[1:]) / SIDE
    mark = _read([_match(seen, size, size, _HALVES[:1])])
    if mark is not None or min(frames.shape[1:3]) < LEAST_SIDE // 2:
        return mark
    quick = seen[:: -(-len(seen) // _QUICK_FRAMES)]
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
        mark = _read(_refined(seen, match) for match in best)
        if mark is not None:
            return mark
    return None


def _refined(seen: Array, match: _Match) -> _Match:
    nudged = (
        _match(seen, match.height * (1 + high), match.width * (1 + wide), _HALVES)
        for high, wide in _NUDGES
    )
    best = max(nudged, key=lambda found: found.score)
    return _match(seen, best.height, best.width, _QUARTERS)


def _match(
    seen: Array, height: float, width: float, shifts: Iterable[tuple[float, float]]
) -> _Match:
    """Return the best fit of the pilot over all places of a grid of cells height × width."""
    weights_kij = np.stack([_fold(_seen_in(seen, height, width, *shift)) for shift in shifts])
    scores = _pilot_scores(weights_kij)
    which, down, right = np.unravel_index(int(scores.argmax()), scores.shape)
    turned = np.roll(weights_kij[which], (-int(down), -int(right)), (0, 1))
    return _Match(float(scores.max()), height, width, turned)


def _seen_in(seen: Array, height: float, width: float, down: float, right: float) -> Array:
    """Return the weights of the cells of a grid, all frames together."""
    rows = averaging(seen.shape[1], height, down)
    columns = averaging(seen.shape[2], width, right)
    weights: Array = whitened(rows @ seen @ columns.T).sum(0)
    return weights


def _pilot_scores(weights_kij: Array) -> Array:
    """Return z of the pilot for every place of the tile's corner, (k, SIDE, SIDE)."""
    signs, mask = _pilot_spectra()
    shape = (SIDE, SIDE)
    sums = np.fft.irfft2(np.fft.rfft2(weights_kij) * signs, shape)
    norms = np.fft.irfft2(np.fft.rfft2(weights_kij**2) * mask, shape)
    scores: Array = sums / np.sqrt(np.maximum(norms, 1e-9))
    return scores


@cache
def _pilot_spectra() -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    signs, mask = pilot()
    return np.conj(np.fft.rfft2(signs)), np.conj(np.fft.rfft2(mask))


def _read(matches: Iterable[_Match]) -> Mark | None:
    """Return the strongest mark that the matches hold, if its strength is above the bound."""
    marks = []
    for match in matches:
        payload = read_tile(match.tile)
        norm = float(np.linalg.norm(match.tile))
        if payload is not None and norm > 0:
            marks.append(Mark(payload, float((match.tile * tile(payload)).sum()) / norm))
    strong = [mark for mark in marks if mark.strength > THRESHOLD]
    return max(strong, key=lambda mark: mark.strength, default=None)


def _fold(weights: Array) -> Array:
    """Add up a map of cells tile by tile, (SIDE, SIDE)."""
    rows, columns = weights.shape
    padded = np.pad(weights, ((0, -rows % SIDE), (0, -columns % SIDE)))
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
