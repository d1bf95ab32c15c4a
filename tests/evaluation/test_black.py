from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.real import empty_clip, real_clip

from mcm.evaluation.black import NearBlackRate
from mcm.evaluation.clips import EvaluationClip


def rate(frames_thwc: np.ndarray) -> float:
    return NearBlackRate().score(EvaluationClip("0", frames_thwc, "")).value


@pytest.mark.parametrize("look", ["clean", "poor"])
def test_real_clips_are_not_black(look: str) -> None:
    assert rate(real_clip("left", look)) == 0


def test_dark_clips_are() -> None:
    dark = (real_clip("left") * 0.04).astype(np.uint8)
    assert rate(dark) == 1
    assert rate(np.zeros((4, 32, 32, 3), np.uint8)) == 1


def test_a_dark_scene_with_one_lamp_is_not() -> None:
    lamp = np.zeros((4, 32, 32, 3), np.uint8)
    lamp[:, 4:14, 4:14] = 200
    assert rate(lamp) == 0


def test_half_the_frames_decide() -> None:
    frames = real_clip("left").copy()
    frames[:7] = 0
    assert rate(frames) == 0
    frames[:9] = 0
    assert rate(frames) == 1


def test_a_named_colour_alone_is_not_black() -> None:
    assert rate(empty_clip("blue")) == 0
