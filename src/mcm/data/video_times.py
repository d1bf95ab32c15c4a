"""Frames of a video by their time stamps: those on screen at given times, or every n-th."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_NOT_SEEKABLE = ("gif", "apng")
_ROUNDING = 0.01
"""Seconds by which a container may have rounded a time stamp (GIF counts in hundredths)."""
_FARTHEST = 2.0**62
"""Ticks beyond the end of every video, which FFmpeg can still count."""


@dataclass(frozen=True)
class Timed:
    """A frame, and the seconds from the beginning of the stream that it is on screen."""

    start: float
    end: float
    frame: VideoFrame


def timed_frames(container: InputContainer, stream: VideoStream, start: float) -> Iterator[Timed]:
    """Yield frames with their times, from the key frame before `start` where seeking works."""
    if start > 0 and stream.codec_context.name not in _NOT_SEEKABLE:
        assert stream.time_base is not None
        origin = stream.start_time or 0
        ticks = min(float(start / stream.time_base), _FARTHEST)
        container.seek(origin + int(ticks), stream=stream)
        frames = _clocked(container, stream)
        first = next(frames, None)
        if first is not None and first.start <= start:
            yield first
            yield from frames
            return
        container.seek(origin, stream=stream)
    yield from _clocked(container, stream)


def _clocked(container: InputContainer, stream: VideoStream) -> Iterator[Timed]:
    """Yield frames with start and end in seconds from the beginning of the stream."""
    rate = stream.average_rate or stream.guessed_rate
    usual = 1 / float(rate) if rate else 0.04
    origin = stream.start_time or 0
    end = 0.0
    for frame in container.decode(stream):
        base, start, length = frame.time_base or stream.time_base, end, usual
        if frame.pts is not None and base is not None:
            start = float((frame.pts - origin) * base)
            length = float(frame.duration * base) if frame.duration else usual
        end = start + length
        yield Timed(start, end, frame)


def at_times(timed: Iterable[Timed], times: list[float], period: float) -> Iterator[VideoFrame]:
    """Yield for each time the frame then on screen; stop when the video ends before it."""
    slack = min(_ROUNDING, period / 4)
    waiting = iter(times)
    time = next(waiting, None)
    shown: Timed | None = None
    for following in timed:
        while shown is not None and time is not None and not _begun(following, shown, time, slack):
            yield shown.frame
            time = next(waiting, None)
        if time is None:
            return
        shown = following
    while shown is not None and time is not None:
        if time >= max(shown.end - slack, shown.start + slack):
            return
        yield shown.frame
        time = next(waiting, None)


def _begun(frame: Timed, before: Timed, time: float, slack: float) -> bool:
    return frame.start <= time + min(slack, (frame.start - before.start) / 4)


def every_nth(
    timed: Iterable[Timed], frames: int, interval: int, start: float
) -> Iterator[VideoFrame]:
    """Yield every `interval`-th frame from the one on screen at `start`."""
    count = 0
    for item in timed:
        if start > 0 and item.end - min(_ROUNDING, (item.end - item.start) / 4) <= start:
            continue
        if count % interval == 0:
            yield item.frame
        count += 1
        if count > (frames - 1) * interval:
            return
