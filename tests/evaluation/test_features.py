from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.evaluation.random_judges import save_features
from tests.evaluation.real import real_clip

from mcm.errors import UserError
from mcm.evaluation import features
from mcm.evaluation.alignment import TextAlignment
from mcm.evaluation.arrays import unpack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.feature_nets import ClipNet, FrameNet
from mcm.evaluation.features import ClipFeatures, FrameFeatures, Vocabulary
from mcm.evaluation.networks import Judges


def clip(frames_thwc: np.ndarray, prompt: str = "") -> EvaluationClip:
    return EvaluationClip("0", frames_thwc, prompt)


def test_words_and_their_numbers() -> None:
    vocabulary = Vocabulary.of(["A fox, moving left", "a red-hot fox"])
    assert vocabulary.words == ["a", "fox", "hot", "left", "moving", "red"]
    tokens = vocabulary.tokens(["a fox zooming"])[0]
    assert tokens[:4].tolist() == [2, 3, 1, 0]
    assert vocabulary.tokens(["fox " * 40]).shape == (1, 24)


def test_networks_take_any_number_of_frames_and_give_128_numbers() -> None:
    torch.manual_seed(0)
    assert FrameNet()(torch.zeros(2, 3, 128, 128)).shape == (2, 128)
    network = ClipNet(words=10).eval()
    assert network(torch.zeros(2, 16, 3, 64, 64)).shape == (2, 128)
    assert network(torch.zeros(1, 5, 3, 64, 64)).shape == (1, 128)
    cosines = network.alignment(torch.randn(2, 128), torch.randint(0, 10, (3, 24)))
    assert cosines.shape == (2, 3)
    assert cosines.abs().max() <= 1 + 1e-6


def test_an_empty_caption_is_a_number_too() -> None:
    network = ClipNet(words=4).eval()
    assert torch.isfinite(network.text(torch.zeros(1, 24, dtype=torch.long))).all()


def test_frames_and_stills_are_observed(tmp_path: Path) -> None:
    observer = FrameFeatures(Judges(save_features(tmp_path)))
    frames = real_clip("left")
    seen = unpack(observer.observe(clip(frames))["features"])
    still = unpack(observer.observe(clip(frames[:1]))["features"])
    assert seen.shape == (4, 128)
    np.testing.assert_allclose(still[0], seen[0], atol=1e-2)


def test_a_clip_is_observed_with_its_alignment(tmp_path: Path) -> None:
    observer = ClipFeatures(Judges(save_features(tmp_path)))
    seen = observer.observe(clip(real_clip("left"), "fox"))
    assert unpack(seen["features"]).shape == (1, 128)
    assert TextAlignment().value(seen) == seen["alignment"]
    assert -1 <= seen["alignment"] <= 1


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors"):
        features.frame_net(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"none\.json"):
        features.clip_net(tmp_path / "none.safetensors")
