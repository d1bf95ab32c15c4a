"""Traces: what they see, and what makes no difference to them."""

import numpy as np
import pytest
from tests.safety.conftest import Frames

from mcm.safety.traces import LEAST_FRAMES, LEAST_SIDE, trace_names, traces


def seen(frames: Frames) -> dict[str, float]:
    return dict(zip(trace_names(), traces(frames).tolist(), strict=True))


def noise(*shape: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("value", [0, 127, 255])
def test_every_clip_has_finite_traces(value: int) -> None:
    for shape in ((LEAST_FRAMES, LEAST_SIDE, LEAST_SIDE), (30, 70, 300), (5, 301, 65)):
        for frames in (np.full((*shape, 3), value, np.uint8), noise(*shape)):
            assert traces(frames).shape == (len(trace_names()),)
            assert np.isfinite(traces(frames)).all()


def test_a_grid_is_seen_wherever_it_begins() -> None:
    """A decoder's grid of 8 pixels: its period stands out, and a crop changes nothing of that."""
    grid = np.repeat(np.repeat(noise(6, 20, 20), 8, 1), 8, 2)
    whole = seen(grid[:, :128, :128])
    moved = seen(grid[:, 3:131, 5:133])
    smooth = seen(noise(6, 128, 128))
    assert whole["period 8"] > smooth["period 8"] + 1
    assert moved["period 8"] == pytest.approx(whole["period 8"], abs=0.1)


def test_frames_that_stand_still_and_noise_that_is_new() -> None:
    still = seen(np.repeat(noise(1, 64, 64), 6, 0))
    fresh = seen(noise(6, 64, 64))
    assert still["noise kept"] == pytest.approx(1, abs=0.01)
    assert abs(fresh["noise kept"]) < 0.05
    assert (still["change frozen"], fresh["change frozen"] < 0.05) == (1.0, True)


def test_blur_takes_from_the_high_bands_only() -> None:
    fresh = noise(6, 128, 128)
    pairs = (
        fresh[:, 1:, 1:].astype(int) + fresh[:, :-1, 1:] + fresh[:, 1:, :-1] + fresh[:, :-1, :-1]
    )
    sharp, soft = seen(fresh), seen((pairs // 4).astype(np.uint8))
    assert soft["spectrum 12"] < sharp["spectrum 12"] - 1
    assert soft["spectrum 1"] == pytest.approx(sharp["spectrum 1"], abs=0.3)
