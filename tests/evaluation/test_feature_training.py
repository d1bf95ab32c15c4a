from __future__ import annotations

from pathlib import Path

import torch

from mcm.data.fluent.concepts import CONCEPTS
from mcm.evaluation.feature_data import clip_material, frame_material
from mcm.evaluation.feature_training import (
    alignment_loss,
    clip_batch,
    frame_batch,
    train_clip_net,
    train_frame_net,
)
from mcm.evaluation.features import clip_net, frame_net
from mcm.teacher.loop import LoopConfig

BRIEF = LoopConfig(steps=2, lr=1e-3, warmup=1)


def test_clips_come_in_pairs_of_clean_and_poor(tmp_path: Path) -> None:
    material = clip_material(tmp_path, 3)
    assert material.pairs.shape == (3, 2, 16, 3, 64, 64)
    clean, poor = material.pairs.float().unbind(1)
    assert 2 < (clean - poor).abs().mean() < 40
    assert (clean[:, :, :, 42:52].mean() - poor[:, :, :, 42:52].mean()) > 10
    again = clip_material(tmp_path, 3)
    assert torch.equal(again.pairs, material.pairs)
    assert again.captions == material.captions


def test_frames_hold_video_and_stills(tmp_path: Path) -> None:
    material = frame_material(tmp_path, 2)
    assert material.pairs.shape == (8, 2, 3, 128, 128)
    assert material.labels["domain"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert material.labels["concept"].max() < len(CONCEPTS)
    x, labels, measures = frame_batch(material, 0, 0)
    assert x.shape == (64, 3, 128, 128)
    assert measures.shape == (64, 2)
    assert set(labels) == {"concept", "background", "domain"}


def test_a_batch_is_a_function_of_its_step(tmp_path: Path) -> None:
    material = clip_material(tmp_path, 3)
    first, again, other = (clip_batch(material, 0, step) for step in (4, 4, 5))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[3] == again[3]
    assert len(first[3]) == 4 * len(first[0])
    known = first[1]["motion"] >= 0
    assert torch.equal(known, first[1]["playback"] == 0)


def test_the_right_caption_costs_least() -> None:
    cosines = torch.full((3, 12), -1.0)
    cosines[torch.arange(3), torch.arange(3)] = 1.0
    right = alignment_loss(cosines, torch.tensor([True, True, False]))
    wrong = alignment_loss(cosines.roll(1, 1), torch.tensor([True, True, False]))
    assert right < 0.01 < wrong


def test_trained_networks_load(tmp_path: Path) -> None:
    train_frame_net(tmp_path, tmp_path / "frames.safetensors", BRIEF, count=2)
    train_clip_net(tmp_path, tmp_path / "clips.safetensors", BRIEF, count=2)
    assert not frame_net(tmp_path / "frames.safetensors").training
    network, vocabulary = clip_net(tmp_path / "clips.safetensors")
    assert "fox" in vocabulary.words
    assert torch.isfinite(network(torch.zeros(1, 16, 3, 64, 64))).all()
