"""The mark's alphabet: which sign each cell of the tile bears for a payload.

A tile of 32 × 32 cells, each ±1: 384 of them are the pilot, the same in every clip, by which the
detector finds place and scale; 640 carry five bytes (four of payload, one CRC-8), each by a word
of the first-order Reed-Muller code RM(1, 7), 128 cells long, which stays readable when many cells
are lost. A keyed permutation and keyed signs spread everything over the tile.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

SIDE = 32
"""Cells of a tile's side; a frame's shorter side is one tile long."""
PAYLOAD_BITS = 32
_KEY = 0x6D636D01
_SYMBOLS, _LENGTH = PAYLOAD_BITS // 8 + 1, 128
_PILOTS = SIDE * SIDE - _SYMBOLS * _LENGTH
_CRC_POLYNOMIAL = 0x2F


@cache
def _layout() -> tuple[NDArray[np.intp], Array]:
    """Return the cells in the order of pilot and symbols, and every cell's keyed sign."""
    rng = np.random.default_rng(_KEY)
    order = rng.permutation(SIDE * SIDE)
    return order, rng.choice(np.array([-1, 1], np.float32), SIDE * SIDE)


@cache
def pilot() -> tuple[Array, Array]:
    """Return the pilot's signs, 0 elsewhere, and its mask; both (SIDE, SIDE)."""
    order, signs = _layout()
    mask = np.zeros(SIDE * SIDE, np.float32)
    mask[order[:_PILOTS]] = 1
    return (mask * signs).reshape(SIDE, SIDE), mask.reshape(SIDE, SIDE)


@cache
def _code() -> Array:
    """Return the words of RM(1, 7) for the bytes 0 to 127; a byte's top bit turns its word."""
    words = np.ones((1, 1), np.float32)
    while len(words) < _LENGTH:
        words = np.block([[words, words], [words, -words]])
    return words


def tile(payload: int) -> Array:
    """Return the signs of a payload, 0 to 2³² − 1; (SIDE, SIDE)."""
    order, signs = _layout()
    values = np.ones(SIDE * SIDE, np.float32)
    data = payload.to_bytes(PAYLOAD_BITS // 8)
    words = [_code()[byte & 127] * (1 - 2 * (byte >> 7)) for byte in (*data, _crc(data))]
    values[order[_PILOTS:]] = np.concatenate(words)
    return (values * signs).reshape(SIDE, SIDE)


def read_tile(weights: Array) -> int | None:
    """Return the likeliest payload of what was seen in each cell, (SIDE, SIDE).

    ``None`` where the check byte does not fit.
    """
    order, signs = _layout()
    seen = (weights.ravel() * signs)[order[_PILOTS:]].reshape(_SYMBOLS, _LENGTH)
    scores = seen @ _code()
    best = np.abs(scores).argmax(1)
    turned = scores[np.arange(_SYMBOLS), best] < 0
    *data, check = (int(word) | int(turn) << 7 for word, turn in zip(best, turned, strict=True))
    return int.from_bytes(bytes(data)) if _crc(bytes(data)) == check else None


def _crc(data: bytes) -> int:
    value = 0xFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1) ^ (_CRC_POLYNOMIAL if value & 0x80 else 0)
            value &= 0xFF
    return value
