from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.shards import write_shards
from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.concept import ConceptJudge, ConceptNet, ConceptRate, to_input
from mcm.evaluation.concept_training import (
    calibrate,
    load_frames,
    train_concept_judge,
)
from mcm.evaluation.embedded import RealClips, requests
from mcm.teacher.loop import LoopConfig


@pytest.mark.parametrize("look", ["poor", "clean"])
def test_concepts_of_real_clips_are_recognised(look: str) -> None:
    metric, model = ConceptRate(), RealClips(look)  # type: ignore[arg-type]
    seen = {}
    for r in requests(12):
        frames = model.generate(r.prompt, seed=r.seed).frames
        seen[r.key] = metric.observe(EvaluationClip(r.key, frames, r.prompt, r.combination))
    assert metric.compute(seen).value >= 11 / 12


def test_any_size_becomes_the_mean_over_areas() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    means = frames.reshape(2, 64, 2, 64, 2, 3).mean((2, 4))
    expected = torch.from_numpy(means).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(to_input(frames), expected, rtol=0, atol=1e-5)


def test_the_network_is_small() -> None:
    parameters = sum(parameter.numel() for parameter in ConceptNet().parameters())
    assert 0.5e6 < parameters < 1e6


def test_calibration_sets_the_statistics_of_the_batches() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    x_bchw = torch.randn(64, 3, 4, 4) * 3 + 5
    calibrate(network, iter([x_bchw]))
    torch.testing.assert_close(network[0].running_mean, x_bchw.mean((0, 2, 3)))
    assert not network.training


def test_a_resumed_training_gives_the_same_weights(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    write_shards(shards, "video", 2)

    def trained(run: str, steps: int) -> ConceptNet:
        config = LoopConfig(steps=steps, lr=1e-3, warmup=1)
        return train_concept_judge(
            shards, tmp_path / run, tmp_path / f"{run}.safetensors", config, clips=2
        )

    whole = trained("whole", 3)
    trained("parts", 1)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(trained("parts", 3).state_dict()[name], value, rtol=0, atol=0)
    logits = ConceptJudge(tmp_path / "whole.safetensors").logits(
        np.zeros((1, 128, 128, 3), dtype=np.uint8)
    )
    assert logits.shape == (len(CONCEPTS),)
    assert np.isfinite(logits).all()


def test_other_shards_than_those_of_the_frames_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "some", "video", 2)
    write_shards(tmp_path / "more", "video", 3)
    frames, _ = load_frames(tmp_path / "some", tmp_path / "run", 9)
    assert torch.equal(frames, load_frames(tmp_path / "some", tmp_path / "run", 9)[0])
    with pytest.raises(UserError, match=r"frames\.npz: has the frames of other shards than .*more"):
        load_frames(tmp_path / "more", tmp_path / "run", 9)
    with pytest.raises(UserError, match="none"):
        load_frames(tmp_path / "none", tmp_path / "run", 9)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.safetensors"):
        ConceptJudge(tmp_path / "nowhere.safetensors")
