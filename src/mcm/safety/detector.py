"""The seam for learned detectors, which tell from the frames alone whether a clip is generated.

None comes with this version. A package that has one names it under the entry point group
``mcm.detectors``: a callable that takes frames, uint8, (t, h, w, 3), and returns a `Detection`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

import numpy as np
from numpy.typing import NDArray

GROUP = "mcm.detectors"


@dataclass(frozen=True)
class Detection:
    """What a detector says.

    Attributes:
        score: Probability that the clip is generated, 0 to 1; ``None`` outside its domain.
        calibration: On what, and how well, that probability was measured.
    """

    score: float | None
    calibration: str


Detector = Callable[[NDArray[np.uint8]], Detection]


def detectors() -> dict[str, Detector]:
    """Return the installed detectors by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}
