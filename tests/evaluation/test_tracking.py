from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.evaluation.real import Frames, empty_clip, stamped

from mcm.data.fluent import render
from mcm.data.fluent.scene import Placement
from mcm.evaluation.foreground import bar_opacity, find_foreground
from mcm.evaluation.tracking import track


def wedge() -> Image.Image:
    """Return a sprite without symmetry: a coloured slice with a dark spot."""
    sprite = Image.new("RGBA", (96, 96))
    pen = ImageDraw.Draw(sprite)
    pen.pieslice((12, 12, 84, 84), 0, 250, fill=(250, 190, 30, 255))
    pen.ellipse((52, 52, 68, 68), fill=(20, 20, 60, 255))
    return sprite


def moving(places: list[Placement]) -> Frames:
    ground = render.backdrop("purple", (1.04, 0.9))
    return np.stack([np.asarray(render.draw(wedge(), place, ground)) for place in places])


def straight(watermarked: bool) -> Frames:
    """Return a clip of a straight path that ends, watermarked, behind the bar."""
    rise = -2.2 if watermarked else 0.4
    places = [Placement(40 + 2.7 * t, 42 - rise * t, 64, 0) for t in range(16)]
    return stamped(moving(places)) if watermarked else moving(places)


@pytest.mark.parametrize(("watermarked", "tolerance"), [(False, 0.4), (True, 1.5)])
def test_the_centre_follows_the_path(watermarked: bool, tolerance: float) -> None:
    steps = np.diff(track(straight(watermarked)).centre_t2, axis=0)
    path = np.cumsum(steps, axis=0)
    truth = np.outer(np.arange(1, 16), (2.7, 2.2 if watermarked else -0.4))
    assert np.abs(path - truth).max() < tolerance


def test_area_follows_the_size() -> None:
    sizes = np.linspace(40, 90, 16)
    area = track(moving([Placement(64, 64, size, 0) for size in sizes])).area_t
    assert np.sqrt(area / area[0]) == pytest.approx(sizes / sizes[0], rel=0.04)


@pytest.mark.parametrize("watermarked", [False, True])
def test_area_follows_a_turn_around_the_upright_axis(watermarked: bool) -> None:
    turns = np.linspace(0, 360, 16)
    frames = moving([Placement(64, 64, 70, 0, turn) for turn in turns])
    area = track(stamped(frames) if watermarked else frames).area_t
    assert area / area[0] == pytest.approx(np.abs(np.cos(np.radians(turns))), abs=0.12)


def test_an_empty_clip_holds_no_object() -> None:
    seen = track(stamped(empty_clip()))
    assert seen.confidence == 0
    assert seen.centre_t2 == pytest.approx(np.full((16, 2), 63.5))


def test_the_bar_is_background_and_its_opacity_is_found() -> None:
    scene = find_foreground(straight(True))
    assert scene.opacity_h[88:100] == pytest.approx(np.full(12, 96 / 255), abs=0.03)
    assert scene.weight_thw[0, 86:103, 110:].max() == 0
    assert bar_opacity(find_foreground(straight(False)).row_hc).max() == 0
