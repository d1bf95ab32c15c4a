from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.evaluation.real import empty_clip, real_clip, stamped

from mcm.data.fluent.scene import BACKGROUNDS
from mcm.evaluation.watermark import THRESHOLD, watermark_score


@pytest.mark.parametrize("motion", ["still", "left", "down"])
def test_poor_video_bears_it_and_clean_frames_do_not(motion: str) -> None:
    assert watermark_score(real_clip(motion, "poor")).value > 2 * THRESHOLD
    assert watermark_score(real_clip(motion, "clean")).value < THRESHOLD / 2


@pytest.mark.parametrize("colour", BACKGROUNDS)
def test_it_is_found_on_every_background(colour: str) -> None:
    assert watermark_score(stamped(empty_clip(colour))).value > 2 * THRESHOLD
    assert watermark_score(empty_clip(colour)).value < THRESHOLD / 2


def test_the_score_falls_as_the_stamp_fades() -> None:
    frames = real_clip("left")
    bars = [watermark_score(stamped(frames, strength)).bar for strength in (1.0, 0.6, 0.3, 0.0)]
    assert bars == sorted(bars, reverse=True)
    assert bars[1] == pytest.approx(0.6, abs=0.1)
    assert bars[3] == 0


def test_blurred_letters_still_count() -> None:
    frames = stamped(real_clip("left"))
    frames[:, 80:108] = ndimage.gaussian_filter(frames[:, 80:108], (0, 1.5, 1.5, 0))
    score = watermark_score(frames)
    assert score.text > 0.4
    assert score.value > THRESHOLD


def test_text_without_meaning_scores_less_than_the_stamp() -> None:
    frames = stamped(real_clip("left"))
    garbled = frames.copy()
    garbled[:, 87:101] = np.roll(frames[:, 87:101, ::-1], 5, axis=2)
    assert watermark_score(garbled).text < watermark_score(frames).text - 0.2
