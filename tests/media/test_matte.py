"""Mattes against the truth: scenes composed of a known object, alpha and background."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mcm.errors import UserError
from mcm.media.containers import Frames
from mcm.media.matte import cut_out, fit_background

Array = NDArray[np.float64]
SIDE, FINE = 96, 4
RED = np.array([225.0, 60, 40])


def grid() -> tuple[Array, Array]:
    places = (np.arange(SIDE * FINE) + 0.5) / FINE
    return np.meshgrid(places, places, indexing="ij")  # type: ignore[return-value]


def averaged(fine: Array) -> Array:
    return fine.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3))


def disc(radius: float = 26, y: float = SIDE / 2, x: float = SIDE / 2) -> Array:
    rows, columns = grid()
    return averaged((np.hypot(rows - y, columns - x) < radius).astype(float))


def gradient() -> Array:
    """A blue that gets lighter downwards and to the right."""
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    return np.stack([20 + 40 * x, 60 + 50 * y, 170 + 40 * x * y], axis=-1)


def compose(alpha: Array, background: Array, object_: Array = RED, noise: float = 0) -> Frames:
    shade = np.random.default_rng(0).normal(0, noise, (SIDE, SIDE, 3)) if noise else 0
    mixed = alpha[..., None] * object_ + (1 - alpha[..., None]) * background + shade
    return np.rint(mixed).clip(0, 255).astype(np.uint8)[None]


@pytest.mark.parametrize("noise", [0, 2])
def test_alpha_of_a_soft_edge_over_a_gradient(noise: float) -> None:
    truth = disc()
    cut = cut_out(compose(truth, gradient(), noise=noise))[0]
    alpha = cut[..., 3] / 255
    assert np.abs(alpha - truth).max() <= 0.12
    assert np.abs(alpha - truth).mean() <= 0.002
    assert alpha[:12].max() == 0
    assert alpha[40:56, 40:56].min() == 1


def test_colours_at_the_edge_hold_nothing_of_the_background() -> None:
    truth = disc()
    cut = cut_out(compose(truth, gradient()))[0]
    edge = (truth > 0.1) & (truth < 0.9)
    assert np.abs(cut[edge][:, :3] - RED).max() <= 12
    green = np.full((SIDE, SIDE, 3), [30.0, 160, 60])
    alpha = cut[..., 3:] / 255
    laid = alpha * cut[..., :3] + (1 - alpha) * green
    right = truth[..., None] * RED + (1 - truth[..., None]) * green
    assert 10 * np.log10(255**2 / np.mean((laid - right) ** 2)) > 40


def test_colours_go_on_under_the_transparent_side_of_the_edge() -> None:
    truth = disc()
    cut = cut_out(compose(truth, gradient()))[0]
    beside = (truth == 0) & (disc(27.5) > 0.99)
    assert beside.any()
    assert np.abs(cut[beside][:, :3] - RED).max() <= 12


def test_holes_that_show_the_background_are_holes() -> None:
    truth = disc(30) - disc(14)
    alpha = cut_out(compose(truth, gradient()))[0][..., 3] / 255
    assert np.abs(alpha - truth).mean() <= 0.003
    assert alpha[SIDE // 2, SIDE // 2] == 0


def test_inside_the_object_colours_near_the_background_stay_opaque() -> None:
    """An object's own dark patch is not cut, though it is nearer to the background's colour."""
    colours = np.zeros((SIDE, SIDE, 3)) + RED
    colours[40:56, 40:56] = [70, 90, 150]
    alpha = cut_out(compose(disc(), gradient(), colours))[0][..., 3]
    assert alpha[38:58, 38:58].min() == 255


def test_a_thin_line_keeps_its_strength() -> None:
    truth = np.zeros((SIDE, SIDE))
    truth[20:76, 47:49], truth[20:76, 46], truth[20:76, 49] = 1, 0.5, 0.5
    alpha = cut_out(compose(truth, gradient()))[0][..., 3] / 255
    assert np.abs(alpha - truth)[22:74].max() <= 0.15


def test_an_object_may_reach_over_the_border() -> None:
    truth = disc(30, x=4)
    alpha = cut_out(compose(truth, gradient(), noise=1))[0][..., 3] / 255
    assert np.abs(alpha - truth).mean() <= 0.005


def test_the_background_is_found_exactly() -> None:
    background, noise, share = fit_background(compose(disc(), gradient())[0])
    assert np.abs(background - gradient()).max() <= 1
    assert noise <= 1
    assert share == 1


def test_an_empty_background_is_transparent_everywhere() -> None:
    assert cut_out(compose(np.zeros((SIDE, SIDE)), gradient(), noise=2))[..., 3].max() == 0


def test_a_background_that_is_not_plain_is_refused() -> None:
    busy = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    with pytest.raises(UserError, match=r"background of frame 0 is not plain.*blue background"):
        cut_out(busy)
