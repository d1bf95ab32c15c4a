"""Every format decoded again: size, frames, time, colours, metadata; and what must not happen."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from mcm.errors import UserError
from mcm.media import FORMATS, find_format, read_metadata, save, save_image, save_video
from mcm.media.containers import Frames
from mcm.media.images import durations, with_one_palette

METADATA = {"prompt": 'a "fox", läuft 🦊', "seed": 7, "model": "fluent-mcm", "steps": 4}
FPS = 8
FILES = {name: f"clip{ending}" for name, ending in FORMATS.items()}


def make_frames(count: int = 5, height: int = 32, width: int = 48) -> Frames:
    """A white square that moves right over a blue ground."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 2] = 200
    for number in range(count):
        frames[number, 8:16, 4 + 4 * number : 12 + 4 * number] = 255
    return frames


def decode(path: Path) -> tuple[Frames, float]:
    """Return frames and mean frames per second."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(images), float(rate or 0)


def decode_image(path: Path) -> tuple[Frames, float]:
    with Image.open(path) as image:
        images, times = [], []
        for frame in ImageSequence.Iterator(image):
            images.append(np.asarray(frame.convert("RGB")))
            times.append(frame.info.get("duration") or 1000 / FPS)
    return np.stack(images), 1000 * len(images) / sum(times)


def decode_folder(path: Path) -> tuple[Frames, float]:
    files = sorted(path.iterdir())
    assert [file.name for file in files] == [f"{number:04}.png" for number in range(len(files))]
    return np.stack([np.asarray(Image.open(file)) for file in files]), FPS


def decode_sheet(path: Path) -> tuple[Frames, float]:
    description = json.loads(path.with_suffix(".json").read_text())
    sheet = np.asarray(Image.open(path))
    assert description["meta"]["image"] == path.name
    assert description["meta"]["size"] == {"w": sheet.shape[1], "h": sheet.shape[0]}
    images, times = [], []
    for name in description["animations"][path.stem]:
        entry = description["frames"][name]
        box = entry["frame"]
        images.append(sheet[box["y"] : box["y"] + box["h"], box["x"] : box["x"] + box["w"]])
        times.append(entry["duration"])
    return np.stack(images), 1000 * len(images) / sum(times)


READERS: dict[str, tuple[Callable[[Path], tuple[Frames, float]], float]] = {
    "mp4": (decode, 12),
    "webm": (decode, 12),
    "gif": (decode_image, 3),
    "webp": (decode_image, 8),
    "frames": (decode_folder, 0),
    "sheet": (decode_sheet, 0),
}
"""Decoder and the greatest mean absolute error of a format."""


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_comes_back(format: str, tmp_path: Path) -> None:
    frames = make_frames()
    path = save_video(frames, tmp_path / FILES[format], fps=FPS, metadata=METADATA, format=format)
    reader, tolerance = READERS[format]
    decoded, fps = reader(path)
    assert decoded.shape == frames.shape
    assert fps == pytest.approx(FPS, rel=0.05)
    assert np.abs(decoded.astype(float) - frames).mean() <= tolerance
    assert read_metadata(path) == METADATA
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("format", save.ALPHA_FORMATS)
def test_a_plain_background_becomes_transparent(format: str, tmp_path: Path) -> None:
    """Corners are clear, the object is opaque and keeps its colour."""
    frames = np.repeat(np.repeat(make_frames(), 4, axis=1), 4, axis=2)
    path = save_video(
        frames, tmp_path / FILES[format], fps=FPS, metadata=METADATA, format=format, alpha=True
    )
    for number, image in enumerate(decode_alpha(path, format)):
        assert image.shape == (*frames.shape[1:3], 4)
        assert image[:8, :8, 3].max() == 0
        assert image[40:56, 4 * (6 + 4 * number) : 4 * (10 + 4 * number), 3].min() == 255
        assert image[40:56, 4 * (6 + 4 * number) : 4 * (10 + 4 * number), :3].min() >= 235
    assert read_metadata(path) == METADATA


def decode_alpha(path: Path, format: str) -> list[Frames]:
    if format == "frames":
        return [np.asarray(Image.open(file)) for file in sorted(path.iterdir())]
    if format == "sheet":
        assert json.loads(path.with_suffix(".json").read_text())["meta"]["format"] == "RGBA8888"
        return list(decode_sheet(path)[0])
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]


def test_only_alpha_needs_scipy() -> None:
    """`mcm generate` hides it, as it costs time to load."""
    code = "import sys; sys.modules['scipy'] = None; import mcm.media, mcm.sampling.requests"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_formats_without_transparency_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="alpha: gif holds no transparency"):
        save_video(make_frames(), tmp_path / "clip.gif", fps=FPS, alpha=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_odd_sizes_grow_by_one(format: str, tmp_path: Path) -> None:
    path = save_video(make_frames(3, 33, 47), tmp_path / f"odd.{format}", fps=FPS)
    decoded, _ = decode(path)
    assert decoded.shape == (3, 34, 48, 3)


def test_mp4_is_h264_for_every_player(tmp_path: Path) -> None:
    path = save_video(make_frames(), tmp_path / "clip.mp4", fps=29.97)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(29.97, abs=0.01)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_gif_frames_share_one_palette_and_loop(tmp_path: Path) -> None:
    frames = make_frames()
    images = with_one_palette(frames)
    assert len({bytes(image.getpalette() or []) for image in images}) == 1
    for image, frame in zip(images, frames, strict=True):
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 8
    path = save_video(frames, tmp_path / "clip.gif", fps=FPS)
    with Image.open(path) as image:
        assert image.info["loop"] == 0


def test_durations_keep_the_time_of_the_clip() -> None:
    assert durations(4, 8, unit=10) == [120, 130, 130, 120]
    assert sum(durations(48, 24, unit=1)) == 2000
    assert min(durations(5, 1000, unit=10)) == 10


def test_single_frame_and_image(tmp_path: Path) -> None:
    frames = make_frames(1)
    for format in FORMATS:
        path = save_video(frames, tmp_path / FILES[format], fps=FPS, format=format)
        assert READERS[format][0](path)[0].shape == frames.shape
    path = save_image(frames[0], tmp_path / "one.png", metadata=METADATA)
    assert np.array_equal(np.asarray(Image.open(path)), frames[0])
    assert read_metadata(path) == METADATA


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_overwritten_unasked(format: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[format]
    save_video(make_frames(2), path, fps=FPS, format=format)
    before = read_all(tmp_path)
    with pytest.raises(UserError, match="exists already"):
        save_video(make_frames(3), path, fps=FPS, format=format)
    assert read_all(tmp_path) == before
    save_video(make_frames(3), path, fps=FPS, format=format, overwrite=True)
    assert len(READERS[format][0](path)[0]) == 3
    assert not list(tmp_path.glob(".*"))


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_is_not_taken_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(UserError, match="folder is in the way"):
        save_video(make_frames(1), tmp_path / "clip.mp4", fps=FPS, overwrite=True)
    (tmp_path / "frames").write_text("mine")
    with pytest.raises(UserError, match="file is in the way"):
        save_video(make_frames(1), tmp_path / "frames", fps=FPS, format="frames", overwrite=True)


@pytest.mark.parametrize("format", FORMATS)
def test_full_disk_leaves_nothing_and_names_the_file(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(partial: Path, *_: Any) -> None:
        if format == "frames":
            partial.mkdir()
            partial = partial / "0000.png"
        partial.write_bytes(b"half a file")
        raise OSError(errno.ENOSPC, "No space left on device", str(partial))

    monkeypatch.setitem(save._WRITERS, format, full)
    monkeypatch.setattr(save.images, "write_png", full)
    path = tmp_path / FILES[format]
    with pytest.raises(OSError, match="No space left") as caught:
        save_video(make_frames(2), path, fps=FPS, format=format)
    assert caught.value.errno == errno.ENOSPC
    assert Path(caught.value.filename).with_suffix("") == path.with_suffix("")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("format", ["mp4", "webm", "gif", "webp", "sheet"])
def test_encoders_report_a_full_disk(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every partial file is a link to a device that is always full."""
    taken = Path.with_name

    def with_name(path: Path, name: str) -> Path:
        partial = taken(path, name)
        partial.symlink_to("/dev/full")
        return partial

    monkeypatch.setattr(Path, "with_name", with_name)
    with pytest.raises(OSError) as caught:
        save_video(make_frames(2), tmp_path / FILES[format], fps=FPS)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_video(make_frames(2), tmp_path / "clip.gif", fps=FPS)
    before = read_all(tmp_path)

    def interrupted(partial: Path, *_: Any) -> None:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setitem(save._WRITERS, "gif", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_video(make_frames(3), path, fps=FPS, overwrite=True)
    assert read_all(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        ("clip.avi", None, "'?.avi'? names no format; expected one of .mp4"),
        ("clip", None, "ending is missing"),
        ("clip.mp4", "gif", "ends in .gif"),
        ("clip.mp4", "mp5", "did you mean mp4"),
    ],
)
def test_unknown_formats_are_refused(path: str, format: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_format(Path(path), format)


def test_metadata_of_foreign_files(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    assert read_metadata(tmp_path / "plain.png") == {}
    (tmp_path / "text.webp").write_text("no image")
    with pytest.raises(UserError, match="neither video nor image"):
        read_metadata(tmp_path / "text.webp")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match="not a readable video"):
        read_metadata(tmp_path / "broken.mp4")
    with pytest.raises(UserError, match="no such"):
        read_metadata(tmp_path / "missing.mp4")
