from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from tests.evaluation.real import Frames, empty_clip, real_clip, stamped

from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.sharpness import FrameSharpness, sharpness


def blurred(frames_thwc: Frames, sigma: float) -> Frames:
    return ndimage.gaussian_filter(frames_thwc, (0, sigma, sigma, 0))


@pytest.mark.parametrize("motion", ["left", "grow", "still"])
def test_blur_lowers_it_more_and_more(motion: str) -> None:
    clean = real_clip(motion)
    values = [sharpness(blurred(clean, sigma)) for sigma in (0.0, 0.7, 1.4, 2.8)]
    assert values == sorted(values, reverse=True)
    assert values[2] < 0.5 * values[0]
    assert sharpness(real_clip(motion, "poor")) < 0.7 * values[0]


@pytest.mark.parametrize("motion", ["left", "up", "bounce"])
def test_the_watermark_does_not_count_as_sharp(motion: str) -> None:
    clean = real_clip(motion)
    assert sharpness(stamped(clean)) == pytest.approx(sharpness(clean), rel=0.05)


def test_contrast_does_not_count_as_sharp() -> None:
    clean = real_clip("left").astype(np.float32)
    rows = np.median(clean[:, :, :3], axis=(0, 2))[:, None]
    fainter = (rows + 0.7 * (clean - rows)).round().astype(np.uint8)
    assert sharpness(fainter) == pytest.approx(sharpness(real_clip("left")), rel=0.1)


def test_no_object_no_sharpness() -> None:
    assert math.isnan(sharpness(empty_clip()))


def test_whole_frames_lose_sharpness_by_blur_and_one_colour_has_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    clips = [blurred(noise, sigma) for sigma in (0.0, 0.7, 1.4)]
    clips.append(np.broadcast_to(np.array([10, 20, 30], np.uint8), noise.shape))
    values = [FrameSharpness().observe(EvaluationClip("0", c, ""))["value"] for c in clips]
    assert values[0] > values[1] > values[2] > 0
    assert values[3] is None
