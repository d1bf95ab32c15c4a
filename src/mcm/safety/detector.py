"""The seam for learned detectors, which tell from the frames alone whether a clip is generated.

A detector is a callable that takes frames, uint8, (t, h, w, 3), and returns a `Detection`. Three
places name detectors: the package itself has `forensic`, once it is trained; a package that brings
one has an entry point in the group ``mcm.detectors``; and a policy names any by its import path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mcm.safety.policy import DetectionSection

GROUP = "mcm.detectors"
OWN = "forensic"


@dataclass(frozen=True)
class Detection:
    """What a detector says.

    Attributes:
        score: Probability that the clip is generated, 0 to 1; ``None`` for unknown.
        calibration: On what, and how well, that probability was measured.
        reason: Why it is unknown; empty otherwise.
    """

    score: float | None
    calibration: str
    reason: str = ""

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"score {self.score} is no probability")


Detector = Callable[[NDArray[np.uint8]], Detection]
Loader = Callable[[], Detector]


def detectors(rules: DetectionSection) -> dict[str, Loader]:
    """Return what loads each detector, by name; a policy's goes before a package's."""
    from mcm.safety.forensic import DEFAULT_WEIGHTS, load_forensic

    found: dict[str, Loader] = {entry.name: entry.load for entry in entry_points(group=GROUP)}
    weights = rules.forensic or DEFAULT_WEIGHTS
    if rules.forensic or weights.is_file():
        found[OWN] = lambda: load_forensic(weights)
    for name, place in rules.detectors.items():
        found[name] = EntryPoint(name, place, GROUP).load
    return found


def detect(frames: NDArray[np.uint8], rules: DetectionSection) -> dict[str, Detection]:
    """Return what every detector says; one that fails says why and costs the others nothing."""
    said = {}
    for name, load in detectors(rules).items():
        try:
            said[name] = load()(frames)
        except Exception as error:
            said[name] = Detection(None, "none", f"it failed: {type(error).__name__}: {error}")
    return said
