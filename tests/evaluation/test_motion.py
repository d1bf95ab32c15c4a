from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.real import empty_clip, real_clip, stamped

from mcm.data.fluent.scene import MOTIONS, Combination, Motion
from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.motion import MotionFidelity, named_motion
from mcm.evaluation.tracking import track

MOVING = [motion for motion in MOTIONS if motion != "still"]


@pytest.mark.parametrize("look", ["clean", "poor"])
@pytest.mark.parametrize("motion", MOTIONS)
def test_real_clips_show_the_motion_of_their_prompt(motion: Motion, look: str) -> None:
    assert named_motion(track(real_clip(motion, look))) == motion


@pytest.mark.parametrize("motion", MOVING)
def test_shuffled_frames_lose_the_motion(motion: Motion) -> None:
    order = np.random.default_rng(5).permutation(16)
    assert named_motion(track(real_clip(motion)[order])) != motion


@pytest.mark.parametrize(("motion", "opposite"), [("left", "right"), ("grow", "shrink")])
def test_backwards_is_the_opposite(motion: Motion, opposite: Motion) -> None:
    assert named_motion(track(real_clip(motion)[::-1])) == opposite


@pytest.mark.parametrize("motion", ["left", "spin", "still"])
def test_a_frozen_clip_shows_none(motion: Motion) -> None:
    assert named_motion(track(np.repeat(real_clip(motion)[:1], 16, axis=0))) == "none"


def test_a_background_alone_shows_none() -> None:
    assert named_motion(track(empty_clip())) == "none"
    assert named_motion(track(stamped(empty_clip("white")))) == "none"


def test_fidelity_is_the_share_of_clips() -> None:
    metric = MotionFidelity()
    frames = real_clip("left")
    asked: list[Motion] = ["left", "left", "left", "up"]
    seen = {
        str(n): metric.observe(EvaluationClip(str(n), frames, "", Combination(0, motion, "blue")))
        for n, motion in enumerate(asked)
    }
    assert metric.compute(seen).value == 0.75
    assert seen["3"] == {"value": 0.0, "seen": "left"}


def test_a_prompt_of_another_world_is_refused() -> None:
    with pytest.raises(UserError, match="prompt 'a cat': names no concept"):
        MotionFidelity().observe(EvaluationClip("0", real_clip("left"), "a cat"))
