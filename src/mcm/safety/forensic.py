"""The trained detector: a small network over traces, its calibration and its domain.

Outside its domain it says nothing. The domain are clips whose Mahalanobis distance to the nearer
class is no more than that of the stated share of clips held apart (Lee et al., *A Simple Unified
Framework for Detecting Out-of-Distribution Samples*, 2018, arXiv 1807.03888).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.errors import UserError
from mcm.safety.detector import Detection
from mcm.safety.traces import LEAST_FRAMES, LEAST_SIDE, trace_names, traces

Array = NDArray[np.floating[Any]]

DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "detectors" / "forensic.safetensors"
_HEADER = "traces and facts"


@dataclass(frozen=True, eq=False)
class Forensic:
    """What was learnt.

    Attributes:
        mean: Mean of every trace, (d,).
        scale: Its deviation, (d,).
        hidden: Weights of the hidden layer, (d, k), and `hidden_bias`, (k,).
        output: Weights of the output, (k,), and `output_bias`, ().
        slope: Factor of the logit that calibrates it (Platt's), and `shift`, its summand; ().
        centres: Mean standardised traces of real and of generated clips, (2, d).
        precision: Inverse of their common covariance, (d, d).
        limit: Largest distance within the domain, ().
        facts: What it was trained on and how well it is calibrated; JSON-ready.
    """

    mean: Array
    scale: Array
    hidden: Array
    hidden_bias: Array
    output: Array
    output_bias: Array
    slope: Array
    shift: Array
    centres: Array
    precision: Array
    limit: Array
    facts: dict[str, Any]

    def logits(self, traces_nd: Array) -> Array:
        """Return the calibrated log odds that clips are generated, (n,), at even odds before."""
        calibrated: Array = self.slope * self.raw_logits(traces_nd) + self.shift
        return calibrated

    def raw_logits(self, traces_nd: Array) -> Array:
        """Return what the network says before calibration, (n,)."""
        hidden = self.standardised(traces_nd) @ self.hidden + self.hidden_bias
        raw: Array = (hidden / (1 + np.exp(-hidden))) @ self.output + self.output_bias
        return raw

    def distances(self, traces_nd: Array) -> Array:
        """Return the distance of clips to the nearer class, (n,)."""
        away = self.standardised(traces_nd)[:, None] - self.centres
        squares = np.einsum("ncd,de,nce->nc", away, self.precision, away)
        nearest: Array = np.sqrt(squares.min(1).clip(0))
        return nearest

    def standardised(self, traces_nd: Array) -> Array:
        """Return traces in deviations from their mean."""
        standard: Array = (traces_nd - self.mean) / self.scale
        return standard

    def __call__(self, frames: NDArray[np.uint8]) -> Detection:
        """Judge a clip: frames, uint8, (t, h, w, 3)."""
        calibration = str(self.facts["calibration"])
        if len(frames) < LEAST_FRAMES or min(frames.shape[1:3]) < LEAST_SIDE:
            least = f"{LEAST_FRAMES} frames of {LEAST_SIDE} pixels a side"
            return Detection(None, calibration, f"it needs at least {least}")
        seen = traces(frames)[None]
        distance, share = float(self.distances(seen)[0]), float(self.facts["domain_quantile"])
        if not distance <= self.limit:
            return Detection(
                None,
                calibration,
                f"outside its domain: distance {distance:.1f}, {share:.0%} of the clips it knows "
                f"stay below {float(self.limit):.1f}",
            )
        return Detection(float(probability(self.logits(seen))[0]), calibration)


def probability(logits: Array) -> Array:
    """Return 1 / (1 + e^−x), without overflow."""
    share: Array = 0.5 * (1 + np.tanh(0.5 * logits))
    return share


def save_forensic(model: Forensic, path: Path) -> None:
    """Write a detector as one safetensors file."""
    from safetensors.numpy import save_file

    arrays = {name: np.array(getattr(model, name), np.float32, order="C") for name in _arrays()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file(arrays, partial, {_HEADER: json.dumps([trace_names(), model.facts])})
    partial.replace(path)


@lru_cache(maxsize=2)
def load_forensic(path: Path = DEFAULT_WEIGHTS) -> Forensic:
    """Read a detector.

    Raises:
        UserError: The file is missing, holds something else, or was made for other traces.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names, facts = json.loads((file.metadata() or {})[_HEADER])
            arrays = {name: file.get_tensor(name) for name in _arrays()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(
            f"detector {path}: not readable ({error}); expected a file of `mcm detector train`"
        ) from None
    if tuple(names) != trace_names():
        raise UserError(f"detector {path}: made for other traces; train it again")
    return Forensic(**arrays, facts=facts)


def _arrays() -> list[str]:
    return [field.name for field in fields(Forensic) if field.name != "facts"]
