"""Video containers: H.264 in mp4, VP9 in webm."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

_H264 = {"crf": "18", "preset": "veryfast"}
_VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}


def write_mp4(path: Path, frames: Frames, fps: float, comment: str) -> None:
    """Write H.264, yuv420p, its index in front; odd sizes grow by one repeated row or column."""
    _write(path, frames, fps, comment, ("mp4", "libx264", _H264))


def write_webm(path: Path, frames: Frames, fps: float, comment: str) -> None:
    """Write VP9, yuv420p; odd sizes grow by one repeated row or column."""
    _write(path, frames, fps, comment, ("webm", "libvpx-vp9", _VP9))


def _write(
    path: Path, frames: Frames, fps: float, comment: str, kind: tuple[str, str, dict[str, str]]
) -> None:
    container_format, codec, options = kind
    container_options = {"movflags": "+faststart"} if container_format == "mp4" else {}
    even = pad_to_even(frames)
    with av.open(
        str(path), "w", format=container_format, container_options=container_options
    ) as container:
        container.metadata["comment"] = comment
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = options
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def pad_to_even(frames: Frames) -> Frames:
    """Repeat the last row and column of frames (t, h, w, 3) where their number is odd."""
    _, height, width, _ = frames.shape
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
