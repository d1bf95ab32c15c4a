from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import split_of
from mcm.data.fluent.world import World
from mcm.distillation.callbacks import Report
from mcm.distillation.proxy import _FIRST, Clip, Proxy, Yardstick
from mcm.evaluation import features
from mcm.evaluation.feature_nets import ClipNet, FrameNet
from mcm.evaluation.features import Vocabulary


@pytest.fixture(autouse=True)
def _random_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    frames, words = FrameNet().eval(), Vocabulary(["fox"])
    clips = ClipNet(len(words)).eval()
    monkeypatch.setattr(features, "frame_net", lambda: frames)
    monkeypatch.setattr(features, "clip_net", lambda: (clips, words))


class Lines:
    """A log in a list."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def scalars(self, step: int, values) -> None:
        self.rows.append((step, dict(values)))


def real(number: int) -> Clip:
    return decode(World().poor_video(_FIRST + number)[0])


def report(step: int, last: bool = False) -> Report:
    return Report(step, 100, {}, 0, last)


def test_it_never_asks_for_what_the_evaluation_asks() -> None:
    yardstick = Yardstick.of(20, clean=False, real=2)
    assert {split_of(named) for named in yardstick.combinations} == {"train"}
    assert len(yardstick.prompts) == 20


def test_real_clips_measure_better_than_frozen_and_dark_ones() -> None:
    yardstick = Yardstick.of(4, clean=False, real=6)

    def spoilt(number: int) -> Clip:
        return np.repeat(real(number)[:1] // 3, 16, axis=0)

    good, bad = yardstick.measure(real), yardstick.measure(spoilt)
    assert good["motion"] == 1 > bad["motion"]
    assert good["fid"] < bad["fid"]
    assert good["fvd"] < bad["fvd"]
    assert good["score"] < bad["score"]


def test_clean_frames_are_held_against_clean_stills() -> None:
    poor, clean = (Yardstick.of(2, clean=clean, real=4) for clean in (False, True))
    assert [len(entry["features"]["shape"]) for entry in clean.frames.values()] == [2] * 4
    assert clean.frames["0"]["features"]["shape"] == [1, 128]
    assert poor.frames["0"]["features"]["shape"] == [4, 128]


def test_the_best_student_is_kept_and_a_resumed_run_remembers_it(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0])
    kept: list[int] = []
    log = Lines()

    def proxy() -> Proxy:
        return Proxy(lambda: {"score": next(scores)}, kept.append, tmp_path, log, every=10)

    watcher = proxy()
    for step in range(1, 21):
        watcher.after_step(report(step))
    assert kept == [10, 20]
    assert json.loads((tmp_path / "proxy.json").read_text()) == {"step": 20, "score": 1.0}
    proxy().after_step(report(25, last=True))
    assert kept == [10, 20]
    assert [step for step, _ in log.rows] == [10, 20, 25]
    assert log.rows[0][1] == {"proxy/score": 3.0}
