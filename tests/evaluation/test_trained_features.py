"""What the shipped feature networks say of real clips, spoilt in known ways.

The clips are of the evaluation split: training saw other combinations of what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mcm.data.fluent.captions import prompt
from mcm.evaluation.arrays import unpack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import RealClips, RealStills, requests
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.frechet import frechet_distance

Frames = NDArray[np.uint8]
COUNT = 32


def shuffled(frames: Frames) -> Frames:
    return frames[np.random.default_rng(0).permutation(len(frames))]


def frozen(frames: Frames) -> Frames:
    return np.repeat(frames[:1], len(frames), axis=0)


def blurred(frames: Frames) -> Frames:
    soft = [Image.fromarray(frame).filter(ImageFilter.GaussianBlur(3)) for frame in frames]
    return np.stack([np.asarray(frame) for frame in soft])


@pytest.fixture(scope="module")
def halves() -> tuple[list[EvaluationClip], list[EvaluationClip]]:
    clips = [RealClips("poor").clip(request) for request in requests(2 * COUNT)]
    return clips[:COUNT], clips[COUNT:]


def seen(
    observer: ClipFeatures | FrameFeatures,
    clips: Sequence[EvaluationClip],
    spoil: Callable[[Frames], Frames] = lambda frames: frames,
) -> NDArray[np.float64]:
    """Return features (n, 128) of clips after something was done to them."""
    spoilt = [EvaluationClip(c.key, spoil(c.frames_thwc), c.prompt) for c in clips]
    return np.concatenate([unpack(observer.observe(clip)["features"]) for clip in spoilt])


@pytest.mark.parametrize("spoil", [shuffled, frozen, blurred])
def test_spoilt_clips_are_further_from_real_ones_than_other_real_clips_are(
    halves: tuple[list[EvaluationClip], list[EvaluationClip]], spoil: Callable[[Frames], Frames]
) -> None:
    observer, (here, there) = ClipFeatures(), halves
    others = seen(observer, there)
    whole = frechet_distance(seen(observer, here), others)
    assert frechet_distance(seen(observer, here, spoil), others) > 1.2 * whole


def test_frames_are_nearest_to_frames_of_their_own_domain(
    halves: tuple[list[EvaluationClip], list[EvaluationClip]],
) -> None:
    observer, (here, there) = FrameFeatures(), halves
    frames, others = seen(observer, here), seen(observer, there)
    own = frechet_distance(frames, others)
    for domain in ("image", "flat"):
        stills = [RealStills(domain).clip(request) for request in requests(2 * COUNT)]  # type: ignore[arg-type]
        assert frechet_distance(frames, seen(observer, stills)) > 1.5 * own
    assert frechet_distance(seen(observer, here, blurred), others) > 1.5 * own


@pytest.mark.parametrize(
    ("part", "least"), [("concept", 0.8), ("motion", 0.9), ("background", 0.95)]
)
def test_a_clip_fits_its_own_caption_better_than_one_wrong_in_a_single_word(
    halves: tuple[list[EvaluationClip], list[EvaluationClip]], part: str, least: float
) -> None:
    observer, clips = ClipFeatures(), [*halves[0], *halves[1]]
    wins = []
    for clip, other in pairwise(clips):
        assert clip.combination and other.combination
        if getattr(clip.combination, part) == getattr(other.combination, part):
            continue
        wrong = caption_with(clip, other, part)
        right = observer.observe(clip)["alignment"]
        swapped = EvaluationClip(clip.key, clip.frames_thwc, wrong)
        wins.append(right > observer.observe(swapped)["alignment"])
    assert np.mean(wins) >= least


def caption_with(clip: EvaluationClip, other: EvaluationClip, part: str) -> str:
    """Return a clip's caption with one part of another's."""
    assert clip.combination and other.combination
    return prompt(replace(clip.combination, **{part: getattr(other.combination, part)}))
