"""What optical flow says of a clip: is it coherent in time, does it move as its reference does."""

from __future__ import annotations

import numpy as np

from mcm.evaluation.arrays import unpack
from mcm.evaluation.flow import FlowObserver
from mcm.evaluation.metric import MeanMetric, Observation

TEACHER = "teacher"
"""The run whose motion is the measure: the teacher's, with the same prompts and seeds."""

_STILL = 0.02
"""Root mean square of flow in pixels below which a clip does not move."""


class WarpingError(MeanMetric):
    """Mean warping error in percent of white; what flickers has much, what is frozen none."""

    name = "warping_error"
    title = "warping error (%)"
    better = "lower"
    observer = FlowObserver.name

    def value(self, seen: Observation, reference: Observation | None = None) -> float:
        """Return the error of a clip."""
        return float("nan") if seen["error"] is None else 100 * float(seen["error"])


class FlowAgreement(MeanMetric):
    """Mean cosine of a clip's coarse flow and the teacher's of the same key, −1 to 1.

    Flow is read as one long vector of every interval and cell. A clip that does not move agrees
    with none that does: 0. Keys where the teacher does not move do not count.
    """

    name = "flow_agreement"
    title = "flow agreement with the teacher"
    observer = FlowObserver.name
    reference = TEACHER

    def value(self, seen: Observation, reference: Observation | None = None) -> float:
        """Return the cosine."""
        assert reference is not None
        flow, wanted = unpack(seen["grid"]).ravel(), unpack(reference["grid"]).ravel()
        moves, asked = float(np.linalg.norm(flow)), float(np.linalg.norm(wanted))
        if flow.shape != wanted.shape or not flow.size or asked < _STILL * np.sqrt(wanted.size):
            return float("nan")
        return float(flow @ wanted / max(moves * asked, 1e-9))


class FlowError(MeanMetric):
    """Mean endpoint error of the coarse flow against the teacher's, pixels at 128 lines."""

    name = "flow_error"
    title = "flow endpoint error (px)"
    better = "lower"
    observer = FlowObserver.name
    reference = TEACHER

    def value(self, seen: Observation, reference: Observation | None = None) -> float:
        """Return the error of a clip; NaN where the numbers of frames differ."""
        assert reference is not None
        flow, wanted = unpack(seen["grid"]), unpack(reference["grid"])
        if flow.shape != wanted.shape or not flow.size:
            return float("nan")
        return float(np.linalg.norm(flow - wanted, axis=-1).mean())
