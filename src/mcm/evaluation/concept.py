"""Which concept a clip shows: a small network of its own that saw real frames only.

It shares no weights with any critic, so that no student is trained against its judge.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from mcm.data.fluent.concepts import CONCEPTS
from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.metric import MeanMetric, Score

INPUT_SIZE = 64
DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "judges" / "concept.safetensors"


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
        UserError: The file is missing.
    """

    def __init__(self, weights: Path = DEFAULT_WEIGHTS) -> None:
        if not weights.is_file():
            raise UserError(f"weights of the concept judge {weights}: file not found")
        self.network = ConceptNet()
        state = {name: value.float() for name, value in load_file(weights).items()}
        self.network.load_state_dict(state, strict=False)
        self.network.eval()

    @torch.inference_mode()
    def logits(self, frames_thwc: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (k,) of a clip: the mean over its frames."""
        return np.asarray(self.network(to_input(frames_thwc)).mean(0).numpy(), dtype=np.float32)

    def name(self, frames_thwc: NDArray[np.uint8]) -> str:
        """Return the noun of the concept that a clip shows."""
        return CONCEPTS[int(self.logits(frames_thwc).argmax())].name


@lru_cache(maxsize=1)
def default_judge() -> ConceptJudge:
    """Return the judge shipped with the package, loaded once."""
    return ConceptJudge()


class ConceptRate(MeanMetric):
    """Share of clips in which the concept of the prompt is recognised.

    Args:
        judge: The trained network; the shipped one, loaded when first used, by default.
    """

    name = "concept"
    title = "concept"

    def __init__(self, judge: ConceptJudge | None = None) -> None:
        self.judge = judge

    def score(self, clip: EvaluationClip) -> Score:
        """Return 1 when the recognised concept is the prompt's; ``seen`` is what was recognised."""
        seen = (self.judge or default_judge()).name(clip.frames_thwc)
        return Score(float(seen == clip.concept_name), seen)


def measured_accuracy(weights: Path = DEFAULT_WEIGHTS) -> dict[str, float]:
    """Return the accuracies on real clips that were measured when the weights were made."""
    facts: dict[str, float] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    return facts
