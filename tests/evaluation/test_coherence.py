from __future__ import annotations

import math

import numpy as np
import pytest
from tests.evaluation.real import Frames, real_clip

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import FlowAgreement, FlowError, WarpingError
from mcm.evaluation.flow import FlowObserver
from mcm.evaluation.metric import Observation


def seen(frames_thwc: Frames) -> Observation:
    return FlowObserver().observe(EvaluationClip("0", frames_thwc, ""))


def frozen(frames_thwc: Frames) -> Frames:
    return np.repeat(frames_thwc[:1], len(frames_thwc), axis=0)


@pytest.mark.parametrize("motion", ["left", "grow", "bounce"])
def test_shuffled_and_flickering_clips_are_less_coherent(motion: str) -> None:
    frames = real_clip(motion)
    rng = np.random.default_rng(1)
    flicker = np.clip(frames * rng.uniform(0.8, 1.2, (16, 1, 1, 1)), 0, 255).astype(np.uint8)
    error = WarpingError().value(seen(frames))
    assert WarpingError().value(seen(frames[rng.permutation(16)])) > 1.1 * error
    assert WarpingError().value(seen(flicker)) > 2 * error
    assert WarpingError().value(seen(frozen(frames))) == 0


def test_a_clip_agrees_with_itself_and_not_with_its_mirror() -> None:
    frames = real_clip("left")
    own, mirrored = seen(frames), seen(frames[:, :, ::-1])
    assert FlowAgreement().value(own, own) == pytest.approx(1)
    assert FlowAgreement().value(mirrored, own) < 0
    assert FlowError().value(own, own) == 0
    assert FlowError().value(mirrored, own) > 0.3


def test_a_frozen_clip_agrees_with_nothing() -> None:
    moving = seen(real_clip("left"))
    still = seen(frozen(real_clip("left")))
    assert FlowAgreement().value(still, moving) == 0
    assert math.isnan(FlowAgreement().value(moving, still))


def test_small_noise_keeps_agreement() -> None:
    frames = real_clip("up")
    noise = np.random.default_rng(0).normal(0, 3, frames.shape)
    noisy = np.clip(frames + noise, 0, 255).astype(np.uint8)
    assert FlowAgreement().value(seen(noisy), seen(frames)) > 0.9


def test_clips_of_other_lengths_do_not_compare() -> None:
    frames = real_clip("up")
    assert math.isnan(FlowAgreement().value(seen(frames[:8]), seen(frames)))
    assert math.isnan(FlowError().value(seen(frames[:8]), seen(frames)))
    assert math.isnan(FlowAgreement().value(seen(frames[:1]), seen(frames[:1])))
    assert math.isnan(FlowError().value(seen(frames[:1]), seen(frames[:1])))
