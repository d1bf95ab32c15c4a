"""Frames from the beginning, middle and end of any file, within bounds of memory and time.

Only containers that the file's first bytes name are opened, each with its own reader, so that a
playlist in disguise cannot make the reader open other files or addresses. Of what cannot be read,
there are no frames.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcm.safety.formats import HEAD, media_type

_READERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/avi": "avi",
}
_IMAGES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
}
_COUNTS = (24, 8, 8)
"""Frames of the beginning, which detectors look at too, of the middle and of the end."""
_MOST_PIXELS = 1 << 26
_SECONDS = 10.0
_USUAL_RATE = 25.0

Frame = NDArray[np.uint8]
Timed = Iterator[tuple[int, float, Frame]]
"""Window, second and pixels, (h, w, 3), of one frame after the other."""


@dataclass(frozen=True, eq=False)
class Window:
    """Frames of a file that follow each other.

    Attributes:
        frames: Frames, uint8, (t, h, w, 3).
        span: Seconds of the first and the last of them.
    """

    frames: NDArray[np.uint8]
    span: tuple[float, float]


def first_frames(path: Path) -> NDArray[np.uint8] | None:
    """Return up to 24 frames, uint8, (t, h, w, 3), up to 2²⁶ pixels; ``None`` if there are none."""
    found = windows(path, _COUNTS[:1])
    return found[0].frames if found else None


def windows(path: Path, counts: tuple[int, ...] = _COUNTS) -> list[Window]:
    """Return frames of a file's beginning, middle and end, at most 2²⁶ pixels together.

    Args:
        path: File of any kind.
        counts: Most frames of each window; those after the first lie evenly over the file.
    """
    with path.open("rb") as file:
        kind = media_type(file.read(HEAD))
    if kind in _READERS:
        return _collected(_video(path, _READERS[kind], counts), len(counts))
    if kind in _IMAGES:
        return _collected(_image(path, _IMAGES[kind], counts), len(counts))
    return []


def _collected(source: Timed, count: int) -> list[Window]:
    seen: list[list[tuple[float, Frame]]] = [[] for _ in range(count)]
    try:
        with warnings.catch_warnings(action="ignore"):
            for number, second, frame in source:
                if seen[number] and frame.shape != seen[number][0][1].shape:
                    break
                seen[number].append((second, frame))
    except Exception:  # whatever a damaged file makes a reader raise: what was read counts
        pass
    return [
        Window(np.stack([frame for _, frame in one]), (one[0][0], one[-1][0]))
        for one in seen
        if one
    ]


def _room(pixels: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many frames of a size each window may have; none if one is too large."""
    room = _MOST_PIXELS // pixels if pixels else 0
    if room < len(counts):
        return (room,)
    share = min(1.0, room / sum(counts))
    return tuple(max(1, int(count * share)) for count in counts)


def _video(path: Path, reader: str, counts: tuple[int, ...]) -> Timed:
    import av

    with av.open(str(path), format=reader) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        rate = float(stream.average_rate or _USUAL_RATE)
        length = (container.duration or 0) / av.time_base
        counts = _room(stream.width * stream.height, counts)
        if not counts[0]:
            return
        begun, last = time.monotonic(), -1.0
        for number, count in enumerate(counts):
            start = _start(number, len(counts), length, count / rate)
            end = begun + _SECONDS * (number + 1) / len(counts)
            if number:
                container.seek(int(max(start, 0.0) * av.time_base))
            for frame in container.decode(stream):
                second = last + 1 / rate if frame.time is None else frame.time
                late = time.monotonic() > end
                if second > last and (second >= start or late):
                    if frame.width * frame.height > _MOST_PIXELS:
                        return
                    last, count = second, count - 1
                    pixels: NDArray[Any] = frame.to_ndarray(format="rgb24")
                    yield number, second, pixels
                if count <= 0 or late:
                    break


def _image(path: Path, reader: str, counts: tuple[int, ...]) -> Timed:
    with Image.open(path, formats=[reader]) as image:
        counts = _room(image.width * image.height, counts)
        total = int(getattr(image, "n_frames", 1))
        end, last = time.monotonic() + _SECONDS, -1
        for number, count in enumerate(counts):
            start = round(_start(number, len(counts), total, count))
            for place in range(max(start, last + 1), min(start + count, total)):
                image.seek(place)
                second = place * float(image.info.get("duration") or 0) / 1000
                yield number, second, np.asarray(image.convert("RGB"))
                last = place
                if time.monotonic() > end:
                    return


def _start(number: int, count: int, length: float, needed: float) -> float:
    """Return where a window begins: the first at the beginning, the last before the end."""
    return number * max(length - needed, 0.0) / max(count - 1, 1)
