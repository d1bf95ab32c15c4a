"""Read clips with PyAV: frames chosen by their time stamps, upright, cropped and resized."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcm.data.grey import UNIT, Window, stored_values, through_window
from mcm.data.resize import CENTRE, MOST_PIXELS, Pixels, fit, lay_over
from mcm.data.samples import SampleError
from mcm.data.video_times import at_times, every_nth, timed_frames

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_NO_OTHER_FILE = {"protocol_whitelist": ""}
"""Content that came as bytes, such as a play list, must not lead to files or addresses."""


@dataclass(frozen=True)
class VideoInfo:
    """What a container says of its first video stream.

    Attributes:
        width: Width in pixels as shown, after rotation.
        height: Height in pixels as shown, after rotation.
        duration: Seconds.
        fps: Average frames per second.
        codec: Name of the decoder.
        rotation: Degrees counter-clockwise that a player turns the stored frames.
        channels: Channels of a frame: 1 for greyscale, 3 for colour, one more with transparency.
        bits: Bits of a value in a channel.
    """

    width: int
    height: int
    duration: float
    fps: float
    codec: str
    rotation: int
    channels: int
    bits: int


def probe_video(source: bytes | Path, *, file: str | None = None) -> VideoInfo:
    """Read the facts of a video; decodes one frame.

    Raises:
        SampleError: As `read_video`.
    """
    file = _name(source, file)
    with _opened(source, file) as (container, stream):
        frame = next(container.decode(stream), None)
        if frame is None:
            raise SampleError(file, "zero-length", "the video holds no frame")
        sideways = frame.rotation % 180 == 90
        rate = stream.average_rate or stream.guessed_rate
        return VideoInfo(
            width=frame.height if sideways else frame.width,
            height=frame.width if sideways else frame.height,
            duration=_duration(container, stream),
            fps=float(rate) if rate else 0.0,
            codec=stream.codec_context.name,
            rotation=frame.rotation,
            channels=len(frame.format.components),
            bits=frame.format.components[0].bits,
        )


def read_video(
    source: bytes | Path,
    *,
    frames: int,
    fps: float | None = None,
    frame_interval: int = 1,
    start: float = 0.0,
    size: tuple[int, int] | None = None,
    anchor: tuple[float, float] = CENTRE,
    window: Window | None = None,
    file: str | None = None,
) -> Pixels:
    """Read a clip of `frames` frames.

    With `fps`, frame k is the one on screen at `start + k / fps`, also when the frame rate
    varies. Without, it is every `frame_interval`-th frame from `start` on.

    Args:
        source: Content of a file of any container and codec that FFmpeg reads, or its path.
        frames: Length of the clip.
        fps: Frames per second of the clip, or `None` to count frames.
        frame_interval: Step between frames where `fps` is `None`.
        start: Seconds from the beginning of the video.
        size: (height, width) to crop and resize to; `None` keeps the video's own.
        anchor: Place of the crop, see `mcm.data.resize.crop_box`.
        window: Of a single-channel video, the stored values that become black and white; `None`
            takes all that its bit depth can hold, and colour as it is.
        file: Name for messages; the path when not given.

    Returns:
        uint8 (t h w 3).

    Raises:
        SampleError: missing, unreadable, zero-length, corrupt, unknown codec, no video, too short
            or, with a window, not single-channel; names the file.
    """
    file = _name(source, file)
    with _opened(source, file) as (container, stream):
        timed = timed_frames(container, stream, start)
        if fps is None:
            chosen = every_nth(timed, frames, frame_interval, start)
        else:
            chosen = at_times(timed, [start + k / fps for k in range(frames)], 1 / fps)
        pictures = [_picture(frame, size, anchor, window, file) for frame in chosen]
    if len(pictures) < frames:
        raise _shortage(file, len(pictures), frames, start, fps is None)
    if len({picture.shape for picture in pictures}) > 1:
        raise SampleError(file, "corrupt", "the frame size changes inside the clip; give a size")
    return np.stack(pictures)


def clip_seconds(frames: int, fps: float | None, frame_interval: int, video_fps: float) -> float:
    """Return the time from the first to the end of the last frame of a clip, in seconds."""
    if fps is not None:
        return frames / fps
    return ((frames - 1) * frame_interval + 1) / video_fps if video_fps else 0.0


def _name(source: bytes | Path, file: str | None) -> str:
    return file or (str(source) if isinstance(source, Path) else "video")


@contextmanager
def _opened(source: bytes | Path, file: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    import av

    _check_there(source, file)
    try:
        media = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        options = _NO_OTHER_FILE if isinstance(source, bytes) else {}
        with av.open(media, mode="r", options=options) as container:
            if not container.streams.video:
                raise SampleError(file, "no video", "the file holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise SampleError(file, "unknown codec", "this build of FFmpeg cannot decode it")
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            yield container, stream
    except av.error.DecoderNotFoundError:
        raise SampleError(file, "unknown codec", "this build of FFmpeg cannot decode it") from None
    except av.error.EOFError:
        raise SampleError(file, "zero-length", "the file ends before its first frame") from None
    except av.error.FFmpegError as error:
        raise SampleError(file, "corrupt", f"FFmpeg: {error.strerror}") from None


def _check_there(source: bytes | Path, file: str) -> None:
    try:
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        if isinstance(source, Path):
            source.open("rb").close()
    except FileNotFoundError:
        raise SampleError(file, "missing", "no such file") from None
    except OSError as error:
        raise SampleError(file, "unreadable", error.strerror or str(error)) from None
    if length == 0:
        raise SampleError(file, "zero-length", "the file is empty")


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Return seconds as the headers say, or by the packets where they say nothing."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return container.duration / 1e6
    container.seek(0)
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux(stream)
        if packet.pts is not None
    ]
    return max(ends, default=0.0)


def _picture(
    frame: VideoFrame,
    size: tuple[int, int] | None,
    anchor: tuple[float, float],
    window: Window | None,
    file: str,
) -> Pixels:
    """Return one upright RGB picture of the wanted size."""
    if frame.is_corrupt:
        raise SampleError(file, "corrupt", f"the frame at {frame.time or 0:.3f} s is damaged")
    pixels = _colours(frame) if window is None else _windowed(frame, window, file)
    upright = np.rot90(pixels, round(frame.rotation / 90))
    return fit(upright, size, anchor) if size else np.ascontiguousarray(upright)


def _colours(frame: VideoFrame) -> Pixels:
    """Return a frame in RGB, transparency laid over white, and of floats 0 to 1."""
    if frame.format.name.startswith("grayf"):
        values = stored_values(frame)
        assert values is not None
        return through_window(values, UNIT)
    if any(component.is_alpha for component in frame.format.components):
        return lay_over(frame.to_ndarray(format="rgba").astype(np.uint8, copy=False))
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _windowed(frame: VideoFrame, window: Window, file: str) -> Pixels:
    values = stored_values(frame)
    if values is None:
        raise SampleError(
            file,
            "not single-channel",
            f"its frames are {frame.format.name}, and a window fits greyscale only; leave it out",
        )
    return through_window(values, window)


def _shortage(file: str, got: int, frames: int, start: float, counted: bool) -> SampleError:
    if got == 0 and start == 0:
        return SampleError(file, "zero-length", "the video holds no frame")
    others = [", a smaller frame interval"] if counted else []
    others += [", an earlier start"] if start > 0 else []
    return SampleError(
        file,
        "too short",
        f"holds {got} of the {frames} frames wanted from {start:g} s on; "
        f"ask for fewer frames{''.join(others)}, or give a longer video",
    )
