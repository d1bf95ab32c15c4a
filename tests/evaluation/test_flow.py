from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.evaluation.real import real_clip

from mcm.evaluation.arrays import unpack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.flow import FlowObserver, coarse, dense_flow, luminance, warp, warping_error


def texture(side: int = 64, seed: int = 0) -> np.ndarray:
    """Return smooth noise (h, w), 0 to 255."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2.5)
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.5, -0.75), (-4.0, 3.0), (7.0, 0.0)])
def test_a_known_shift_is_found(shift: tuple[float, float]) -> None:
    first = texture()
    moved = ndimage.shift(first, (shift[1], shift[0]), order=3, mode="nearest")
    flow = dense_flow(first[None], moved[None])[0, 14:-14, 14:-14]
    np.testing.assert_allclose(flow.reshape(-1, 2).mean(0), shift, atol=0.12)
    assert np.linalg.norm(flow - np.array(shift), axis=-1).mean() < 0.25


def test_warping_with_the_true_flow_gives_the_first_frame() -> None:
    first = texture()
    moved = ndimage.shift(first, (2, -3), order=1, mode="nearest")
    flow = np.broadcast_to(np.array([-3, 2], np.float32), (1, 64, 64, 2))
    back = warp(moved[None], flow)[0, 4:-4, 4:-4]
    np.testing.assert_allclose(back, first[4:-4, 4:-4], atol=1e-3)


def test_two_halves_move_apart() -> None:
    first = texture()
    second = first.copy()
    second[:, :32] = ndimage.shift(first, (0, -2), order=1, mode="nearest")[:, :32]
    second[:, 32:] = ndimage.shift(first, (0, 2), order=1, mode="nearest")[:, 32:]
    grid = coarse(dense_flow(first[None], second[None]))[0]
    assert grid[2:6, 1:3, 0].mean() == pytest.approx(-2, abs=0.4)
    assert grid[2:6, 5:7, 0].mean() == pytest.approx(2, abs=0.4)


def test_what_does_not_move_has_no_flow_and_no_error() -> None:
    still = np.repeat(real_clip("left")[:1], 4, axis=0)
    luma = luminance(still)
    flow = dense_flow(luma[:-1], luma[1:])
    assert not flow.any()
    assert warping_error(luma[:-1], luma[1:], flow) == 0


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_real_motions_flow_their_way(motion: str, axis: int, sign: int) -> None:
    clip = EvaluationClip("0", real_clip(motion), "")
    grid = unpack(FlowObserver().observe(clip)["grid"])
    assert grid.shape == (15, 8, 8, 2)
    flow = np.median(grid[np.linalg.norm(grid, axis=-1) > 1], axis=0)
    assert sign * flow[axis] > 3 * abs(flow[1 - axis])


def test_the_size_of_frames_does_not_matter() -> None:
    small = real_clip("right")
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    grids = [
        unpack(FlowObserver().observe(EvaluationClip("0", frames, ""))["grid"])
        for frames in (small, large)
    ]
    np.testing.assert_allclose(grids[0], grids[1], atol=0.1)


def test_one_frame_has_no_flow() -> None:
    seen = FlowObserver().observe(EvaluationClip("0", real_clip("left")[:1], ""))
    assert seen["error"] is None
    assert unpack(seen["grid"]).shape == (0, 8, 8, 2)
