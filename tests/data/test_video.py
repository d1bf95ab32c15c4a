from pathlib import Path

import av
import numpy as np
import pytest

from mcm.data.samples import SampleError
from mcm.data.video import clip_seconds, probe_video, read_video
from mcm.errors import UserError


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mkv", "ffv1", "yuv444p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_every_container_gives_the_frames_in_order(
    make_video, greys, frame_numbers, name: str, codec: str, pix_fmt: str
) -> None:
    path = make_video(name, greys(16, step=12), fps=8, codec=codec, pix_fmt=pix_fmt)
    frames = read_video(path, frames=16, fps=8)
    assert frames.shape == (16, 48, 64, 3)
    assert frames.dtype == np.uint8
    if pix_fmt != "rgb8":
        assert frame_numbers(frames) == list(range(16))
    assert (np.diff(frames.mean((1, 2, 3))) >= 0).all()


def test_bytes_and_path_give_the_same_frames(make_video, greys) -> None:
    path = make_video("a.mp4", greys(8))
    by_path = read_video(path, frames=8, fps=8)
    assert (read_video(path.read_bytes(), frames=8, fps=8) == by_path).all()


@pytest.mark.parametrize(("rate", "step"), [(8, 1), (4, 2), (2, 4), (16, 0.5), (6, 4 / 3)])
def test_frame_k_is_the_one_on_screen_at_its_time(
    make_video, greys, frame_numbers, rate: int, step: float
) -> None:
    path = make_video("a.mp4", greys(16), fps=8)
    expected = [int(k * step + 1e-6) for k in range(4)]
    assert frame_numbers(read_video(path, frames=4, fps=rate)) == expected


def test_rounded_time_stamps_of_webm_lose_and_double_no_frame(
    make_video, greys, frame_numbers
) -> None:
    path = make_video("a.webm", greys(20), fps=24, codec="libvpx-vp9")
    assert frame_numbers(read_video(path, frames=20, fps=24)) == list(range(20))


def test_variable_frame_rate_follows_the_clock(make_video, greys, frame_numbers) -> None:
    times = [0, 100, 200, 1000, 1100, 1200, 2000]
    path = make_video("vfr.mkv", greys(7), codec="ffv1", pix_fmt="yuv444p", times_ms=times)
    assert frame_numbers(read_video(path, frames=5, fps=2)) == [0, 2, 3, 5, 6]
    assert frame_numbers(read_video(path, frames=7, frame_interval=1)) == list(range(7))


def test_frame_interval_counts_frames(make_video, greys, frame_numbers) -> None:
    path = make_video("a.mp4", greys(16))
    assert frame_numbers(read_video(path, frames=5, frame_interval=3)) == [0, 3, 6, 9, 12]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.mp4", "libx264", "yuv420p"), ("a.webm", "libvpx-vp9", "yuv420p")],
)
@pytest.mark.parametrize("start", [0.25, 0.5, 1.25])
def test_a_clip_starts_where_it_is_told(
    make_video, greys, frame_numbers, name: str, codec: str, pix_fmt: str, start: float
) -> None:
    path = make_video(name, greys(16), codec=codec, pix_fmt=pix_fmt, options={"g": "5"})
    first = round(start * 8)
    assert frame_numbers(read_video(path, frames=4, fps=8, start=start)) == [
        *range(first, first + 4)
    ]
    by_count = read_video(path, frames=2, frame_interval=2, start=start)
    assert frame_numbers(by_count) == [first, first + 2]


def test_a_gif_starts_where_it_is_told(make_video, greys) -> None:
    path = make_video("a.gif", greys(16), codec="gif", pix_fmt="rgb8", fps=10)
    whole = read_video(path, frames=16, fps=10)
    assert (read_video(path, frames=4, fps=10, start=0.8) == whole[8:12]).all()


def test_rotation_is_applied(make_video, turn_clockwise) -> None:
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[:, :24, :32] = 255
    path = make_video("a.mp4", frames)
    turn_clockwise(path)
    upright = read_video(path, frames=4, fps=8)
    assert upright.shape == (4, 64, 48, 3)
    assert upright[0, :28, 28:].min() > 200
    assert upright[0, :28, :20].max() < 50
    info = probe_video(path)
    assert (info.height, info.width, info.rotation % 360) == (64, 48, 270)


def test_probe_tells_size_rate_and_length(make_video, greys) -> None:
    info = probe_video(make_video("a.webm", greys(16), codec="libvpx-vp9"))
    assert (info.height, info.width, info.fps, info.codec) == (48, 64, 8.0, "vp9")
    assert info.duration == pytest.approx(2.0, abs=0.01)


def test_size_crops_the_centre_and_keeps_the_aspect(make_video) -> None:
    frames = np.zeros((2, 48, 96, 3), np.uint8)
    frames[:, :, 24:72] = 255
    path = make_video("a.mkv", frames, codec="ffv1", pix_fmt="yuv444p")
    assert read_video(path, frames=2, fps=8, size=(24, 24))[:, :, 1:-1].min() > 240
    assert read_video(path, frames=2, fps=8, size=(24, 24), anchor=(0.5, 0.0))[0, 12, 0].max() < 15


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8, :, 3] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=8)
        stream.height = stream.width = 16
        stream.pix_fmt = "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode())
    frame = read_video(path, frames=1, fps=8)[0]
    assert frame[:8].max() == 0
    assert frame[8:].min() == 255


def assert_refused(source: Path | bytes, reason: str, frames: int = 8) -> None:
    with pytest.raises(SampleError) as caught:
        read_video(source, frames=frames, fps=8, file="clips/name.mp4")
    assert caught.value.reason == reason
    assert caught.value.file == "clips/name.mp4"
    assert str(caught.value).startswith(f"clips/name.mp4: {reason}: ")
    assert isinstance(caught.value, UserError)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing.mp4", "missing")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert_refused(tmp_path / "a.mp4", "zero-length")
    assert_refused(b"", "zero-length")


def test_a_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path, "unreadable")


def test_text_named_mp4(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("This is no video.\n" * 100)
    assert_refused(tmp_path / "a.mp4", "corrupt")


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_truncated_file(make_video, options: dict[str, str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 48, 64, 3), dtype=np.uint8)
    path = make_video("a.mp4", noise, options=options)
    assert_refused(path.read_bytes()[: path.stat().st_size * 2 // 3], "corrupt", frames=16)


def test_an_unknown_codec(make_video, greys) -> None:
    path = make_video("a.mp4", greys(8))
    assert_refused(path.read_bytes().replace(b"avc1", b"zzzz"), "unknown codec")


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert_refused(path, "no video")


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")])
def test_a_video_without_frames(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    assert_refused(path, "zero-length")


def test_a_video_too_short(make_video, greys) -> None:
    path = make_video("a.mp4", greys(16))
    assert read_video(path, frames=16, fps=8).shape[0] == 16
    assert_refused(path, "too short", frames=17)
    with pytest.raises(SampleError, match="too short: holds 8 of the 9 frames wanted from 1 s"):
        read_video(path, frames=9, fps=8, start=1.0)
    with pytest.raises(SampleError, match="too short"):
        read_video(path, frames=1, fps=8, start=5.0)


def test_clip_seconds() -> None:
    assert clip_seconds(16, 8.0, 1, 30.0) == 2.0
    assert clip_seconds(4, None, 3, 10.0) == 1.0
