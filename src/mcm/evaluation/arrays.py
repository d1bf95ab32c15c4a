"""Arrays inside JSON: float16 in base64, three significant digits in two bytes a number."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = float(np.finfo(np.float16).max)


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array of any shape JSON-ready; values beyond ±65504 are clipped to that."""
    halves = np.clip(array, -_LARGEST, _LARGEST).astype("<f2")
    text = base64.b64encode(halves.tobytes()).decode("ascii")
    return {"shape": list(halves.shape), "float16": text}


def unpack(packed: dict[str, Any]) -> NDArray[np.float64]:
    """Return the array of :func:`pack` in float64."""
    halves = np.frombuffer(base64.b64decode(packed["float16"]), dtype="<f2")
    return halves.reshape(packed["shape"]).astype(np.float64)
