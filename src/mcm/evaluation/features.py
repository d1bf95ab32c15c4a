"""What Fréchet distances, alignment and diversity read: features of frames and of clips.

Their networks saw real material only and share no weights with any critic.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcm.backbones.json_files import read_json
from mcm.errors import UserError
from mcm.evaluation.arrays import pack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.feature_nets import CLIP_SIDE, FRAME_SIDE, WORDS, ClipNet, FrameNet
from mcm.evaluation.metric import Observation
from mcm.evaluation.networks import Judges, load_network

_FRAMES_SEEN = 4


class Vocabulary:
    """Words of captions as numbers; 1 stands for any other word.

    Args:
        words: The known words.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._numbers = {word: number for number, word in enumerate(words, 2)}

    @classmethod
    def of(cls, captions: list[str]) -> Vocabulary:
        """Return the vocabulary of captions."""
        return cls(sorted({word for caption in captions for word in split_words(caption)}))

    def __len__(self) -> int:
        return len(self.words) + 2

    def tokens(self, captions: list[str]) -> Tensor:
        """Return the first 24 words of captions as numbers, (n, 24), 0 after the last."""
        tokens_nl = torch.zeros(len(captions), WORDS, dtype=torch.long)
        for row, caption in enumerate(captions):
            numbers = [self._numbers.get(word, 1) for word in split_words(caption)][:WORDS]
            tokens_nl[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.long)
        return tokens_nl


def split_words(caption: str) -> list[str]:
    """Return the words of a caption in lower case."""
    return re.findall(r"[a-z0-9']+", caption.lower())


def to_side(frames_thwc: NDArray[np.uint8], side: int) -> Tensor:
    """Return frames of any size as (t, 3, side, side) in [-1, 1], averaged over areas."""
    x_tchw = torch.from_numpy(frames_thwc.copy()).permute(0, 3, 1, 2).float()
    return nn.functional.interpolate(x_tchw, (side, side), mode="area") / 127.5 - 1


class FrameFeatures:
    """Observes the features of four frames of a clip, evenly spaced; of a still, its own.

    Args:
        judges: The trained networks.

    Raises:
        UserError: The network of frames is missing; names the command that trains it.
    """

    name = "frame_features"

    def __init__(self, judges: Judges | None = None) -> None:
        self.network = frame_net((judges or Judges()).file("frames"))

    @torch.inference_mode()
    def observe(self, clip: EvaluationClip) -> Observation:
        """Return ``features`` (k, 128)."""
        count = min(_FRAMES_SEEN, len(clip.frames_thwc))
        chosen = np.linspace(0, len(clip.frames_thwc) - 1, count).round().astype(int)
        features = self.network(to_side(clip.frames_thwc[chosen], FRAME_SIDE))
        return {"features": pack(features.numpy())}


class ClipFeatures:
    """Observes the features of a clip and how well they fit the prompt.

    Args:
        judges: The trained networks.

    Raises:
        UserError: The network of clips is missing; names the command that trains it.
    """

    name = "clip_features"

    def __init__(self, judges: Judges | None = None) -> None:
        self.network, self.vocabulary = clip_net((judges or Judges()).file("clips"))

    @torch.inference_mode()
    def observe(self, clip: EvaluationClip) -> Observation:
        """Return ``features`` (1, 128) and ``alignment``, a cosine."""
        features = self.network(to_side(clip.frames_thwc, CLIP_SIDE)[None])
        tokens = self.vocabulary.tokens([clip.prompt])
        cosine = float(self.network.alignment(features, tokens)[0, 0])
        return {"features": pack(features.numpy()), "alignment": round(cosine, 6)}


@lru_cache(maxsize=1)
def frame_net(weights: Path) -> FrameNet:
    """Load the frame network, once.

    Raises:
        UserError: The file is missing or of another network.
    """
    network = FrameNet()
    load_network(network, weights)
    return network


@lru_cache(maxsize=1)
def clip_net(weights: Path) -> tuple[ClipNet, Vocabulary]:
    """Load the clip network and its vocabulary, once.

    Raises:
        UserError: A file is missing or of another network.
    """
    facts = weights.with_suffix(".json")
    if not facts.is_file():
        raise UserError(f"vocabulary of the clip judge {facts}: file not found")
    words = read_json(facts, "the vocabulary of a clip judge").get("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{facts}: words: got {str(words)[:60]!r}, expected a list of words")
    vocabulary = Vocabulary(words)
    network = ClipNet(len(vocabulary))
    load_network(network, weights)
    return network, vocabulary
