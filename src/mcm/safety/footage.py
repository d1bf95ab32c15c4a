"""The first frames of any file, within bounds of memory and time; of what cannot be read, none.

Only containers that the file's first bytes name are opened, each with its own reader, so that a
playlist in disguise cannot make the reader open other files or addresses.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

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
_MOST_FRAMES = 24
_MOST_PIXELS = 1 << 26
_SECONDS = 10.0


def first_frames(path: Path) -> NDArray[np.uint8] | None:
    """Return up to 24 frames, uint8, (t, h, w, 3), up to 2²⁶ pixels; ``None`` if there are none."""
    with path.open("rb") as file:
        kind = media_type(file.read(HEAD))
    source = _video(path, _READERS[kind]) if kind in _READERS else None
    source = _image(path, _IMAGES[kind]) if kind in _IMAGES else source
    if source is None:
        return None
    frames: list[NDArray[np.uint8]] = []
    end = time.monotonic() + _SECONDS
    try:
        with warnings.catch_warnings(action="ignore"):
            for frame in source:
                if frames and frame.shape != frames[0].shape:
                    break
                frames.append(frame)
                room = _MOST_PIXELS // (frame.shape[0] * frame.shape[1])
                if len(frames) >= min(_MOST_FRAMES, room) or time.monotonic() > end:
                    break
    except Exception:  # whatever a damaged file makes a reader raise: what was read counts
        pass
    return np.stack(frames) if frames else None


def _video(path: Path, reader: str) -> Iterator[NDArray[np.uint8]]:
    import av

    with av.open(str(path), format=reader) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        if not 0 < stream.width * stream.height <= _MOST_PIXELS:
            return
        for frame in container.decode(stream):
            if frame.width * frame.height > _MOST_PIXELS:
                return
            pixels: NDArray[Any] = frame.to_ndarray(format="rgb24")
            yield pixels


def _image(path: Path, reader: str) -> Iterator[NDArray[np.uint8]]:
    with Image.open(path, formats=[reader]) as image:
        if image.width * image.height > _MOST_PIXELS:
            return
        for frame in ImageSequence.Iterator(image):
            yield np.asarray(frame.convert("RGB"))
