"""Single-channel video and images: bit depths, windows, and that nothing is lost on the way."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mcm.data import video
from mcm.data.cache_jobs import ImageJob, VideoJob
from mcm.data.grey import parse_window, through_window
from mcm.data.image import read_image
from mcm.data.samples import SampleError
from mcm.data.video import probe_video, read_video
from mcm.errors import UserError

WIDTH, HEIGHT, COUNT = 50, 20, 4
BITS = {"gray": 8, "gray10le": 10, "gray12le": 12, "gray16le": 16}


def scan(most: int) -> NDArray[np.uint16]:
    """A ramp over the width, from 0 to ``most``, that moves by a column each frame."""
    ramp = np.linspace(0, most, WIDTH).round().astype(np.uint16)
    return np.stack([np.tile(np.roll(ramp, k), (HEIGHT, 1)) for k in range(COUNT)])


def write(path: Path, values_thw: NDArray[np.uint16], pix_fmt: str) -> Path:
    """Write losslessly, the rows of a frame padded as the codec's own are."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        for number, values in enumerate(values_thw):
            frame = av.VideoFrame(WIDTH, HEIGHT, pix_fmt)
            stored = values.astype("u1" if BITS[pix_fmt] == 8 else "<u2")
            row = np.zeros((HEIGHT, frame.planes[0].line_size // stored.itemsize), stored.dtype)
            row[:, :WIDTH] = stored
            frame.planes[0].update(row.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("pix_fmt", BITS)
def test_a_window_shows_the_stored_values_of_any_depth(pix_fmt: str, tmp_path: Path) -> None:
    most = 2 ** BITS[pix_fmt] - 1
    values = scan(most)
    path = write(tmp_path / "scan.mkv", values, pix_fmt)
    info = probe_video(path)
    assert (info.channels, info.bits) == (1, BITS[pix_fmt])
    low, high = most * 0.25, most * 0.75
    frames = read_video(path, frames=COUNT, fps=8, window=(low, high))
    wanted = np.rint(((values - low) * 255 / (high - low)).clip(0, 255))
    assert np.array_equal(frames[..., 0], wanted)
    assert np.array_equal(frames[..., 1], frames[..., 2])


@pytest.mark.parametrize("pix_fmt", BITS)
def test_without_a_window_the_whole_depth_is_shown(pix_fmt: str, tmp_path: Path) -> None:
    most = 2 ** BITS[pix_fmt] - 1
    path = write(tmp_path / "scan.mkv", scan(most), pix_fmt)
    frames = read_video(path, frames=COUNT, fps=8)
    wanted = through_window(scan(most), (0, most))
    assert np.abs(frames.astype(int) - wanted).max() <= 1


def test_floats_are_shown_from_0_to_1(tmp_path: Path) -> None:
    """As a TIFF through the reader of images, and as FFmpeg hands a frame over."""
    values = np.tile(np.array([-1, 0, 0.25, 0.5, 1, 7, 0, 0], np.float32), (8, 1))
    wanted = [0, 0, 64, 128, 255, 255, 0, 0]
    Image.fromarray(values).save(tmp_path / "float.tiff")
    assert read_image(tmp_path / "float.tiff")[0, :, 0].tolist() == wanted
    frame = av.VideoFrame(8, 8, "grayf32le")
    rows = np.zeros((8, frame.planes[0].line_size // 4), np.float32)
    rows[:, :8] = values
    frame.planes[0].update(rows.tobytes())
    assert video._colours(frame)[0, :, 0].tolist() == wanted


def test_twelve_bits_in_sixteen_need_a_window(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.mkv", scan(4095), "gray16le")
    assert read_video(path, frames=COUNT, fps=8).max() <= 16, "nearly black"
    assert read_video(path, frames=COUNT, fps=8, window=(0, 4095)).max() == 255


def test_a_window_on_colour_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "colour.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.zeros((48, 64, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(SampleError, match="not single-channel: its frames are yuv420p"):
        read_video(tmp_path / "colour.mp4", frames=1, window=(0, 100))
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(SampleError, match="not single-channel: it is RGB"):
        read_image(tmp_path / "colour.png", window=(0, 100))


def test_images_of_sixteen_bits_go_through_a_window(tmp_path: Path) -> None:
    values = scan(4095)[0]
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    shown = read_image(buffer.getvalue(), window=(1000, 3000))
    assert np.array_equal(shown, through_window(values, (1000, 3000)))


def test_signed_and_real_values_go_through_a_window() -> None:
    hounsfield = np.array([[-1000, -160, 40, 240, 3000]], np.int16)
    assert through_window(hounsfield, (-160, 240))[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert through_window(np.array([[0.0, 0.5, 1.0]]), (0, 1))[0, :, 0].tolist() == [0, 128, 255]


def test_only_a_window_shows_in_the_settings_of_a_cache() -> None:
    plain = VideoJob(4, 8, 1, (16, 24), "start", "centre", 0, 0, "float16")
    assert "window" not in plain.settings
    image = ImageJob((16, 24), "centre", False, 0, "float16", (0, 4095))
    assert image.settings["window"] == [0, 4095]


def test_windows_are_two_numbers() -> None:
    assert parse_window("-160,240") == (-160, 240)
    for text in ("100", "1,2,3", "a,b"):
        with pytest.raises(UserError, match="expected LOW,HIGH"):
            parse_window(text)
