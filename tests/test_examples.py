"""The examples run, give what their captions say, and the same again for the same seed."""

from pathlib import Path

import numpy as np
import pytest
from examples import reaction_diffusion as rd
from PIL import Image

from mcm.data.folders import FolderSource
from mcm.data.samples import Sample
from mcm.data.video import probe_video, read_video
from mcm.errors import UserError

FAST = {name: rd.Pattern(p.feed, p.kill, (40, 60), 10) for name, p in rd.PATTERNS.items()}


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rd, "PATTERNS", FAST)


def read(folder: Path) -> list[Sample]:
    samples = list(FolderSource(folder / "captions.csv"))
    assert all(isinstance(sample, Sample) for sample in samples)
    return samples  # type: ignore[return-value]


@pytest.mark.usefixtures("_fast")
def test_a_folder_is_what_the_cache_reads_and_the_same_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rd.render(tmp_path / name, videos=5, images=4, seed=3)
    videos, images = read(tmp_path / "one" / "videos"), read(tmp_path / "one" / "images")
    assert (len(videos), len(images)) == (5, 4)
    assert {sample.caption for sample in videos} == {
        f"spots that divide growing from {origin}" for origin in rd.ORIGINS
    }
    info = probe_video(videos[0].media)
    assert (info.width, info.height, info.fps) == (rd.SIDE, rd.SIDE, rd.FPS)
    assert Image.open(images[0].media).size == (rd.SIDE, rd.SIDE)  # type: ignore[arg-type]
    for file in (tmp_path / "one").rglob("*.*"):
        again = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert file.read_bytes() == again.read_bytes(), file.name
    with pytest.raises(UserError, match="exists already"):
        rd.render(tmp_path / "one", videos=1, images=1)


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("origin", rd.ORIGINS)
def test_patterns_grow_from_where_the_caption_says(origin: str) -> None:
    scene = rd.Scene("a maze", origin, 40, 0)
    [v_thw] = rd.simulate([scene], 64, 2)
    y, x = np.indices(v_thw.shape[1:])
    weight = v_thw[0] / v_thw[0].sum()
    middle = (weight * y).sum() / 64, (weight * x).sum() / 64
    assert np.abs(np.subtract(middle, rd.ORIGINS[origin])).max() < 0.03
    assert np.abs(v_thw[1] - v_thw[0]).max() > 0.01, "it moves"


@pytest.mark.usefixtures("_fast")
def test_recordings_are_grey_and_stills_are_coloured(tmp_path: Path) -> None:
    rd.render(tmp_path, videos=1, images=1)
    [clip], [still] = read(tmp_path / "videos"), read(tmp_path / "images")
    frames = read_video(clip.media, frames=rd.FRAMES).astype(int)
    assert np.abs(frames[..., 0] - frames[..., 2]).max() <= 6
    pixels = np.asarray(Image.open(still.media)).astype(int)  # type: ignore[arg-type]
    assert np.abs(pixels[..., 0] - pixels[..., 2]).max() > 60


def test_diffusion_conserves_what_it_spreads() -> None:
    x = np.random.default_rng(0).random((2, 16, 16)).astype(np.float32)
    assert np.abs(rd.laplacian(x).sum((1, 2))).max() < 1e-3
    assert np.abs(rd.laplacian(np.ones((1, 8, 8), np.float32))).max() < 1e-6


def test_every_pattern_and_origin_is_drawn_as_often() -> None:
    scenes = rd.draw_scenes(60, seed=0)
    pairs = [(scene.pattern, scene.origin) for scene in scenes]
    assert len(set(pairs)) == 30
    assert {pairs.count(pair) for pair in pairs} == {2}
