"""The mark: invisible, found after what happens to clips, and never where there is none."""

import io
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.safety.conftest import Frames

from mcm.data.fluent import render
from mcm.data.fluent.world import World
from mcm.forensics.distortions import tone
from mcm.safety import search
from mcm.safety.search import ANYWHERE, FALSE_ALARMS, UNMOVED, Mark, find, threshold
from mcm.safety.tile import SIDE, pilot, read_tile, tile
from mcm.safety.watermark import embed

ID = 0xC0FFEE42


def resized(frames: Frames, height: int, width: int) -> Frames:
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in frames])


def jpeg(frames: Frames) -> Frames:
    buffer = io.BytesIO()
    Image.fromarray(frames[7]).save(buffer, "JPEG", quality=70)
    return np.asarray(Image.open(buffer).convert("RGB"))[None]


ATTACKS: dict[str, Callable[[Frames], Frames]] = {
    "none": lambda frames: frames,
    "half": lambda frames: resized(frames, 64, 64),
    "double": lambda frames: resized(frames, 256, 256),
    "other shape": lambda frames: resized(frames[:4, :, :120], 150, 130),
    "crop": lambda frames: frames[:, 9:112, 17:121],
    "trim": lambda frames: frames[5:8],
    "darker": lambda frames: (frames * 0.8).astype(np.uint8),
    "one frame as JPEG": jpeg,
}


@pytest.fixture(scope="module")
def marked(clean: Frames) -> Frames:
    return embed(clean, ID)


def test_it_cannot_be_seen(clean: Frames, marked: Frames) -> None:
    error = ((clean.astype(float) - marked) ** 2).mean((1, 2, 3))
    assert 10 * math.log10(255**2 / error.max()) >= 40
    assert marked.dtype == np.uint8
    assert marked.shape == clean.shape


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_comes_back(attack: str, marked: Frames) -> None:
    mark = find(ATTACKS[attack](marked))
    assert mark is not None
    assert mark.payload == ID
    assert mark.false_alarm < FALSE_ALARMS


@pytest.mark.parametrize("kind", ["brighter", "more contrast"])
def test_a_white_ground_that_saturates_costs_no_mark(kind: str) -> None:
    """Clip 25 of the evaluation split: over half of what is marked turns plain white."""
    frames = render.decode(World().poor_video(25, "evaluation")[0])
    marked = embed(frames, ID)
    shift, factor = {"brighter": (20, 1.0), "more contrast": (0, 1.2)}[kind]
    attacked = tone(shift, factor)(marked)
    assert (attacked.min(-1) == 255).mean() > 0.5
    mark = find(attacked)
    assert mark is not None
    assert (mark.payload, mark.hypotheses) == (ID, UNMOVED)
    error = ((frames.astype(float) - marked) ** 2).mean((1, 2, 3))
    assert 10 * math.log10(255**2 / error.max()) >= 40


def test_it_fits_wide_and_tall_frames(clean: Frames) -> None:
    for height, width in ((96, 171), (200, 90)):
        mark = find(embed(resized(clean[:2], height, width), ID))
        assert mark is not None
        assert mark.payload == ID


def test_a_clean_clip_bears_none(clean: Frames) -> None:
    assert find(clean[:2]) is None


def test_an_empty_picture_bears_none() -> None:
    assert find(np.full((1, 64, 64, 3), 255, np.uint8)) is None


def test_small_frames_are_left_alone(clean: Frames) -> None:
    small = clean[:, :40, :40]
    assert embed(small, ID) is small
    assert find(small[:1]) is None
    assert find(np.zeros((0, 64, 64, 3), np.uint8)) is None


@given(payload=st.integers(0, 2**32 - 1), seed=st.integers(0, 99))
def test_tiles_are_read_through_loss_and_noise(payload: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = rng.random((SIDE, SIDE)) < 0.6
    seen = np.where(kept, tile(payload) + 0.8 * rng.standard_normal((SIDE, SIDE)), 0)
    assert read_tile(seen.astype(np.float32)) == payload


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_bound_holds_for_noise(seed: int) -> None:
    """z of random weights against one tile is normal at most: 6 is out of reach of 20 draws."""
    weights = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    for payload in (0, ID):
        assert abs((weights * tile(payload)).sum() / np.linalg.norm(weights)) < 6


def test_the_search_stays_within_the_hypotheses_of_the_bound() -> None:
    pairs = [(a, b) for a in search._SCALES for b in search._SCALES]
    near = sum(abs(math.log(a / b)) < search._MOST_STRETCH for a, b in pairs)
    coarse = near * len(search._HALVES)
    each = len(search._NUDGES) * len(search._HALVES) + len(search._QUARTERS)
    tried = 1 + coarse + 2 * search._CANDIDATES * each
    assert tried * SIDE**2 <= ANYWHERE
    bounds = [n * 2**32 * math.exp(-(threshold(n) ** 2) / 2) for n in (UNMOVED, ANYWHERE)]
    assert sum(bounds) == pytest.approx(FALSE_ALARMS)
    for hypotheses in (UNMOVED, ANYWHERE):
        least = Mark(ID, threshold(hypotheses), hypotheses)
        assert least.false_alarm == pytest.approx(FALSE_ALARMS)


def test_pilot_is_the_same_for_every_payload() -> None:
    signs, mask = pilot()
    for payload in (0, ID):
        assert np.array_equal(tile(payload) * mask, signs)
    assert set(np.unique(tile(ID))) == {-1.0, 1.0}


@pytest.mark.parametrize("shape", [(1, 6272, 137, 3), (2, 96, 9000, 3)])
def test_long_strips_take_little_memory_and_bear_the_mark(shape: tuple[int, ...]) -> None:
    strip = np.random.default_rng(0).integers(100, 140, shape, dtype=np.uint8)
    marked = find(embed(strip, 77))
    assert marked is not None
    assert marked.payload == 77
    tracemalloc.start()
    assert find(strip) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20
