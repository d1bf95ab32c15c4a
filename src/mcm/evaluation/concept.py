"""Which concept a clip shows: a small network of its own that saw real frames only.

It shares no weights with any critic, so that no student is trained against its judge.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcm.data.fluent.concepts import CONCEPTS
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score
from mcm.evaluation.networks import Judges, load_network

INPUT_SIZE = 64


class ConceptNet(nn.Module):
    """Classify frames (b, 3, 64, 64) in [-1, 1] into the concepts; returns logits (b, k)."""

    def __init__(self, classes: int = len(CONCEPTS)) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(3, 24, 5, 2),
            _block(24, 48, 3, 2),
            _block(48, 96, 3, 2),
            Residual(96),
            _block(96, 192, 3, 2),
            Residual(192, layers=1),
        )
        self.head = nn.Linear(192 * 2, classes)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the logits of every frame."""
        features = self.body(x_bchw)
        pooled_bd = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        logits_bk: Tensor = self.head(pooled_bd)
        return logits_bk


class Residual(nn.Module):
    """y = x + f(x) with f of ``layers`` 3×3 blocks."""

    def __init__(self, channels: int, layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_block(channels, channels, 3, 1) for _ in range(layers)))

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the sum of the input and what the layers make of it."""
        changed: Tensor = x_bchw + self.layers(x_bchw)
        return changed


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


def to_input(frames_thwc: NDArray[np.uint8]) -> Tensor:
    """Return frames (t, h, w, 3) of any size as (t, 3, 64, 64) in [-1, 1], averaged over areas."""
    x_tchw = torch.from_numpy(frames_thwc.copy()).permute(0, 3, 1, 2).float()
    return nn.functional.interpolate(x_tchw, (INPUT_SIZE, INPUT_SIZE), mode="area") / 127.5 - 1


class ConceptJudge:
    """The trained network.

    Args:
        weights: Its safetensors file.

    Raises:
        UserError: The file is missing or of another network.
    """

    def __init__(self, weights: Path) -> None:
        self.network = ConceptNet()
        load_network(self.network, weights)

    @torch.inference_mode()
    def logits(self, frames_thwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (k,) of a clip: the mean over its frames."""
        return np.asarray(self.network(to_input(frames_thwc)).mean(0).numpy(), dtype=np.float32)

    def name(self, frames_thwc: NDArray[np.uint8]) -> str:
        """Return the noun of the concept that a clip shows."""
        return CONCEPTS[int(self.logits(frames_thwc).argmax())].name


@lru_cache(maxsize=1)
def concept_judge(weights: Path) -> ConceptJudge:
    """Return the judge of a file, loaded once."""
    return ConceptJudge(weights)


class ConceptRate(MeanMetric):
    """Share of clips in which the concept of the prompt is recognised.

    Args:
        judges: The trained networks; the one of concepts is loaded when first used.
    """

    name = "concept"
    title = "concept"

    def __init__(self, judges: Judges | None = None) -> None:
        self.judges = judges or Judges()

    def score(self, clip: EvaluationClip) -> Score:
        """Return 1 when the recognised concept is the prompt's; ``seen`` is what was recognised."""
        seen = concept_judge(self.judges.file("concept")).name(clip.frames_thwc)
        return Score(float(seen == clip.concept_name), seen)
