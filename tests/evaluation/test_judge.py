from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.real import empty_clip, real_clip

from mcm.data.fluent.scene import combinations, split_of
from mcm.data.fluent.world import World
from mcm.errors import UserError
from mcm.evaluation.background import BackgroundRate
from mcm.evaluation.embedded import RealClips, combination_count, drawn_again, requests
from mcm.evaluation.judge import evaluate_model, judge_clips
from mcm.evaluation.metric import Metric
from mcm.evaluation.motion import MotionFidelity
from mcm.evaluation.sharpness import Sharpness
from mcm.evaluation.watermark import WatermarkRate


def light_metrics() -> list[Metric]:
    return [MotionFidelity(), BackgroundRate(), WatermarkRate(), Sharpness()]


@dataclass
class Counting:
    """A model that counts its calls and breaks at one of them."""

    name: str = "real-poor"
    breaks_at: int | None = None
    seeds: list[int] = field(default_factory=list)

    def generate(self, prompt: str, steps: int | None = None, seed: int = 0) -> Any:
        if seed == self.breaks_at:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        return RealClips("poor").generate(prompt, steps, seed)


def test_the_protocol_asks_for_each_held_back_combination_once() -> None:
    asked = requests()
    assert len(asked) == combination_count() == len(combinations("evaluation"))
    assert {request.combination for request in asked} == set(combinations("evaluation"))
    assert all(split_of(request.combination) == "evaluation" for request in asked)
    assert len({request.key for request in asked}) == len(asked)
    assert requests(7) == asked[:7]


def test_real_clips_pass_their_judges() -> None:
    asked = [request.combination for request in requests(3)]
    model = RealClips("poor")
    clips = [model.generate("", seed=seed).frames for seed in range(3)]
    report = judge_clips(clips, asked, light_metrics()).results
    assert report["motion"].value == report["background"].value == report["watermark"].value == 1
    assert report["sharpness"].count == 3


def test_clips_drawn_again_are_other_clips_of_the_same_prompts() -> None:
    for request in requests(3):
        first, again = (RealClips("clean", a).clip(request).frames_thwc for a in (False, True))
        number = drawn_again(request.seed)
        assert World().scene(number, "evaluation").combination == request.combination
        assert number > 100 * combination_count()
        assert (first != again).any()


def test_clips_of_something_else_fail() -> None:
    combination = next(c for c in combinations("evaluation") if c.motion == "up")
    clips = [empty_clip("blue"), real_clip("left")]
    report = judge_clips(clips, [combination] * 2, light_metrics()).results
    assert report["motion"].value == 0
    assert report["watermark"].value == 0
    assert report["sharpness"].count == 1


def test_a_broken_evaluation_goes_on_where_it_stood(tmp_path: Path) -> None:
    whole = evaluate_model(Counting(), 4, tmp_path / "whole.jsonl", 4, light_metrics())
    path = tmp_path / "broken.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(Counting(breaks_at=2), 4, path, 4, light_metrics())
    with path.open("a") as file:
        file.write('{"key": "000')
    rest = Counting()
    report = evaluate_model(rest, 4, path, 4, light_metrics())
    assert rest.seeds == [2, 3]
    assert report == whole
    assert path.read_text() == (tmp_path / "whole.jsonl").read_text()


def test_rows_say_what_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    evaluate_model(RealClips("clean"), 4, path, 1, light_metrics())
    first, row = map(json.loads, path.read_text().splitlines())
    wanted = requests(1)[0]
    assert (first["model"], first["steps"]) == ("real-clean", 4)
    assert row["prompt"] == wanted.prompt
    assert row["seen"]["motion"] == {"value": 1.0, "seen": wanted.combination.motion}
    assert np.isfinite(row["seen"]["sharpness"]["value"])


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    evaluate_model(Counting(), 4, path, 1, light_metrics())
    with pytest.raises(UserError, match="holds clips of"):
        evaluate_model(Counting(), 8, path, 1, light_metrics())
