"""Fitting the detector: network, calibration and domain, from the traces of labelled clips.

Clips of some scenes are held apart: they calibrate the network's odds (Platt, *Probabilistic
Outputs for Support Vector Machines*, 1999), and say how far from their class known clips lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcm.errors import UserError
from mcm.forensics.measures import auc, expected_calibration_error
from mcm.safety.forensic import Forensic, probability

Array = NDArray[np.floating[Any]]

_HIDDEN, _STEPS, _LR, _DECAY = 32, 400, 1e-2, 1.0
_LIMIT, _NOISE = 8.0, 0.3
_LEAST_CLIPS = 10


@dataclass(frozen=True, eq=False)
class Labelled:
    """Traces of clips.

    Attributes:
        traces: Traces, (n, d).
        generated: Whether each is generated, (n,).
        source: Where each is from, (n,).
        held: Whether each is held apart for calibration, (n,).
    """

    traces: Array
    generated: NDArray[np.bool_]
    source: NDArray[np.str_]
    held: NDArray[np.bool_]

    def only(self, which: NDArray[np.bool_]) -> Labelled:
        """Return some of the clips."""
        return Labelled(
            self.traces[which], self.generated[which], self.source[which], self.held[which]
        )

    def weights(self) -> Array:
        """Return weights that give both classes the same, and each source of a class, (n,)."""
        weights = np.zeros(len(self.source))
        for label in (False, True):
            for name in (sources := set(self.source[self.generated == label])):
                which = (self.source == name) & (self.generated == label)
                weights[which] = 0.5 / len(sources) / which.sum()
        return weights


def fit(clips: Labelled, domain: float = 0.99, seed: int = 0) -> Forensic:
    """Return the detector that clips teach.

    Args:
        clips: Real and generated ones.
        domain: Share of the clips held apart that are to be in its domain.
        seed: Of the network's beginning and noise.

    Raises:
        UserError: There are too few clips of a class.
    """
    for label, name in ((False, "real"), (True, "generated")):
        for apart, what in ((False, "to learn from"), (True, "to calibrate with")):
            count = int(((clips.generated == label) & (clips.held == apart)).sum())
            if count < _LEAST_CLIPS:
                raise UserError(
                    f"{name} clips {what}: got {count}, expected {_LEAST_CLIPS} or more"
                )
    learn, held = clips.only(~clips.held), clips.only(clips.held)
    model = _with_domain(_network(learn, seed), learn, held, domain)
    slope, shift = _calibration(model.raw_logits(held.traces), held)
    model = replace(model, slope=slope, shift=shift)
    return replace(model, facts=_facts(model, clips, held, domain))


def _network(clips: Labelled, seed: int) -> Forensic:
    """Learn the two layers by cross entropy, all clips at once."""
    mean, scale = clips.traces.mean(0), clips.traces.std(0) + 1e-3
    x_nd = torch.from_numpy(((clips.traces - mean) / scale).clip(-_LIMIT, _LIMIT)).float()
    y_n = torch.from_numpy(clips.generated).float()
    weight_n = torch.from_numpy(clips.weights()).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, last = nn.Linear(x_nd.shape[1], _HIDDEN), nn.Linear(_HIDDEN, 1)
    net = nn.Sequential(first, nn.SiLU(), last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LR, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        noisy = x_nd + _NOISE * torch.randn(x_nd.shape, generator=generator)
        losses = nn.functional.binary_cross_entropy_with_logits(net(noisy)[:, 0], y_n, weight_n)
        optimizer.zero_grad()
        (losses * len(y_n)).backward()
        optimizer.step()
        schedule.step()
    arrays = (first.weight.T, first.bias, last.weight[0], last.bias[0])
    hidden, hidden_bias, output, output_bias = (a.detach().numpy().copy() for a in arrays)
    one, nothing, empty = np.float32(1), np.float32(0), np.zeros((0, 0), np.float32)
    return Forensic(
        mean, scale, hidden, hidden_bias, output, output_bias,
        np.asarray(one), np.asarray(nothing), empty, empty, np.asarray(nothing), {},
    )  # fmt: skip


def _with_domain(model: Forensic, learn: Labelled, held: Labelled, domain: float) -> Forensic:
    """Add both classes' centres, their common covariance, and the limit of the domain."""
    x_nd = model.standardised(learn.traces).clip(-_LIMIT, _LIMIT)
    centres = np.stack([x_nd[learn.generated == label].mean(0) for label in (False, True)])
    precision = np.linalg.inv(shrunk_covariance(x_nd - centres[learn.generated.astype(int)]))
    model = replace(model, centres=centres, precision=precision)
    limit = np.quantile(model.distances(held.traces), domain)
    return replace(model, limit=np.asarray(limit))


def shrunk_covariance(x_nd: Array) -> Array:
    """Return the covariance of centred rows, drawn to a multiple of the identity.

    By as much as lessens its expected error most: Ledoit and Wolf, *A Well-Conditioned Estimator
    for Large-Dimensional Covariance Matrices*, 2004.
    """
    count, width = x_nd.shape
    sample: Array = x_nd.T @ x_nd / count
    target = np.trace(sample) / width * np.eye(width)
    away = float(((sample - target) ** 2).sum())
    error = float(((x_nd**2).sum(1) ** 2).sum() - count * (sample**2).sum()) / count**2
    share = min(1.0, max(error, 0.0) / max(away, 1e-12))
    shrunk: Array = (1 - share) * sample + share * target
    return shrunk


def _calibration(raw_n: Array, held: Labelled) -> tuple[Array, Array]:
    """Return slope and shift of the log odds with the least cross entropy, slope above 0."""
    from scipy.optimize import minimize

    signs, weights = np.where(held.generated, 1.0, -1.0), held.weights()

    def loss(parameters: Array) -> float:
        odds = signs * (np.exp(parameters[0]) * raw_n + parameters[1])
        return float((weights * np.logaddexp(0, -odds)).sum() + 1e-3 * (parameters**2).sum())

    slope, shift = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return np.asarray(np.exp(slope)), np.asarray(shift)


def _facts(model: Forensic, clips: Labelled, held: Labelled, domain: float) -> dict[str, Any]:
    logits = model.logits(held.traces)
    error = expected_calibration_error(probability(logits), held.generated)
    area = auc(logits[~held.generated], logits[held.generated])
    sources = {
        name: sorted(set(clips.source[clips.generated == label].tolist()))
        for name, label in (("real", False), ("generated", True))
    }
    return {
        **sources,
        "clips": len(clips.source),
        "held_apart": len(held.source),
        "auc_held_apart": round(area, 4),
        "calibration_error_held_apart": round(error, 4),
        "domain_quantile": domain,
        "threshold": float(np.quantile(logits[~held.generated], 0.99)),
        "calibration": f"at even odds before, off by {error:.1%} on {len(held.source)} clips held "
        f"apart of {_told(sources['generated'])} against {_told(sources['real'])}",
    }


def _told(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{len(names)} sources"
