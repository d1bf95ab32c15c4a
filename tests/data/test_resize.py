import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcm.data.resize import crop_box, fit, lay_over

sides = st.integers(1, 400)
parts = st.floats(0, 1)


@settings(max_examples=30, deadline=None)
@given(sides, sides, st.tuples(sides, sides), st.tuples(parts, parts))
def test_the_box_lies_inside_fills_one_side_and_has_the_aspect(
    height: int, width: int, size: tuple[int, int], anchor: tuple[float, float]
) -> None:
    left, top, right, bottom = crop_box(height, width, size, anchor)
    assert left >= 0
    assert top >= 0
    assert right <= width
    assert bottom <= height
    assert (right - left) * size[0] == pytest.approx((bottom - top) * size[1], rel=1e-6)
    assert right - left == pytest.approx(width) or bottom - top == pytest.approx(height)


def test_the_anchor_moves_the_box_from_edge_to_edge() -> None:
    assert crop_box(10, 30, (10, 10), (0.5, 0.0)) == (0, 0, 10, 10)
    assert crop_box(10, 30, (10, 10), (0.5, 1.0)) == (20, 0, 30, 10)
    assert crop_box(10, 30, (10, 10)) == (10, 0, 20, 10)


def test_the_same_size_is_the_same_picture() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert (fit(pixels, (4, 6)) == pixels).all()


def test_halving_averages() -> None:
    pixels = np.full((8, 8, 3), 90, np.uint8)
    assert (fit(pixels, (4, 4)) == 90).all()


def test_transparency_is_laid_over_a_grey_level() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    assert lay_over(pixels).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert lay_over(pixels, 0).tolist() == [[[10, 20, 30], [0, 0, 0]]]


@pytest.mark.parametrize("ground", [0, 100, 255])
def test_every_mixture_is_rounded_exactly(ground: int) -> None:
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([colour, colour, colour, alpha], axis=-1).astype(np.uint8)
    wanted = np.rint((colour * alpha + ground * (255 - alpha)) / 255)
    assert np.array_equal(lay_over(pixels, ground)[..., 1], wanted)


def test_large_pictures_are_not_copied_as_floats() -> None:
    pixels = np.full((3000, 2000, 4), 128, np.uint8)
    tracemalloc.start()
    lay_over(pixels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * pixels.nbytes
