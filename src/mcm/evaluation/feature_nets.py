"""Small networks whose features say what is there, how it looks and how it moves.

A feature has 128 numbers, so that the covariance of five hundred clips has full rank; Inception's
2,048 or I3D's 400 would need many times more clips.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import BACKGROUNDS, MOTIONS
from mcm.evaluation.concept import Residual
from mcm.evaluation.corruption import PLAYBACKS

DIM = 128
FRAME_SIDE, CLIP_SIDE = 128, 64
DOMAINS = ("video", "image", "flat")
WORDS = 24
"""Words of a caption that the text tower reads."""


class FrameNet(nn.Module):
    """Features (b, 128) of frames (b, 3, 128, 128) in [-1, 1]: what is there, and how it looks."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk((16, 32, 64, 96, 128))
        self.heads = _heads(
            {"concept": len(CONCEPTS), "background": len(BACKGROUNDS), "domain": len(DOMAINS)},
            measures=2,
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = self.trunk(x_bchw)
        return features


class ClipNet(nn.Module):
    """Features (b, 128) of clips (b, t, 3, 64, 64) in [-1, 1], and of captions beside them.

    Args:
        words: Size of the vocabulary.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.trunk = _trunk((24, 48, 96, 128))
        self.time = nn.Sequential(*(_TimeBlock() for _ in range(3)))
        self.join = nn.Linear(2 * DIM, DIM)
        self.heads = _heads(
            {
                "concept": len(CONCEPTS),
                "background": len(BACKGROUNDS),
                "motion": len(MOTIONS),
                "playback": len(PLAYBACKS),
            },
            measures=2,
        )
        self.to_text = nn.Linear(DIM, DIM)
        self.text = TextTower(words)

    def forward(self, x_btchw: Tensor) -> Tensor:
        """Return the features of clips."""
        batch, frames = x_btchw.shape[:2]
        x = x_btchw.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        e_bdt = self.time(self.trunk(x).view(batch, frames, DIM).transpose(1, 2))
        joined: Tensor = self.join(torch.cat([e_bdt.mean(2), e_bdt.amax(2)], dim=1))
        return joined

    def alignment(self, features_bd: Tensor, tokens_nl: Tensor) -> Tensor:
        """Return the cosines (b, n) of clips' features and captions."""
        clips = nn.functional.normalize(self.to_text(features_bd), dim=-1)
        texts = nn.functional.normalize(self.text(tokens_nl), dim=-1)
        cosines: Tensor = clips @ texts.T
        return cosines


class TextTower(nn.Module):
    """Embed word numbers (n, l), 0 where there is none, as (n, 128)."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, DIM, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(WORDS, DIM))
        layer = nn.TransformerEncoderLayer(DIM, 4, 2 * DIM, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, tokens_nl: Tensor) -> Tensor:
        """Return the mean state of the words."""
        states = self.layers(
            self.words(tokens_nl) + self.places, src_key_padding_mask=tokens_nl == 0
        )
        there = (tokens_nl != 0).unsqueeze(-1)
        mean: Tensor = (states * there).sum(1) / there.sum(1).clamp(min=1)
        return mean


class _TimeBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, DIM), nn.SiLU(), nn.Conv1d(DIM, DIM, 3, padding=1)
        )

    def forward(self, e_bdt: Tensor) -> Tensor:
        changed: Tensor = e_bdt + self.layers(e_bdt)
        return changed


def _trunk(channels: tuple[int, ...]) -> nn.Sequential:
    """Halve the side once per level down to 4×4, and keep where things are."""
    layers: list[nn.Module] = []
    inputs = 3
    for level, outputs in enumerate(channels):
        kernel = 3 if level else 5
        layers += [nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.SiLU()]
        if level >= len(channels) - 3:
            layers += [Residual(outputs, layers=1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.Conv2d(inputs, 32, 1), nn.Flatten(), nn.Linear(512, DIM))


def _heads(classes: dict[str, int], measures: int) -> nn.ModuleDict:
    heads = {name: nn.Linear(DIM, count) for name, count in classes.items()}
    return nn.ModuleDict(heads | {"measures": nn.Linear(DIM, measures)})
