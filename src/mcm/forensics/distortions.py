"""What happens to clips on their way: codecs, sizes, cuts, tones.

The watermark is measured after each of them, and the detector is trained under some and judged
under others. Every one takes and returns frames, uint8, (t, h, w, 3).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcm.media.containers import pad_to_even
from mcm.media.images import webp_bytes, with_one_palette

Frames = NDArray[np.uint8]
Distortion = Callable[[Frames], Frames]


def coded(frames: Frames, codec: str, container: str, **options: object) -> Frames:
    """Encode and decode again; odd sides grow by one."""
    even = pad_to_even(frames)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as target:
        stream: Any = target.add_stream(codec, rate=8)
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {name.replace("_", "-"): str(value) for name, value in options.items()}
        for frame in even:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        target.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer, "r") as source:
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    return np.stack(pictures).astype(np.uint8, copy=False)


def h264(crf: int) -> Distortion:
    """Return H.264 of a quality."""
    return lambda frames: coded(frames, "libx264", "mp4", crf=crf, preset="veryfast")


def vp9(frames: Frames) -> Frames:
    """VP9 at crf 32."""
    return coded(frames, "libvpx-vp9", "webm", crf=32, b=0, deadline="good", cpu_used=5)


def gif(frames: Frames) -> Frames:
    """One palette of 256 colours, with error diffusion."""
    return np.stack([np.asarray(image.convert("RGB")) for image in with_one_palette(frames)])


def webp(frames: Frames) -> Frames:
    """Animated WebP as mcm writes it."""
    with Image.open(io.BytesIO(webp_bytes(frames, 8))) as image:
        pictures = []
        for number in range(len(frames)):
            image.seek(number)
            pictures.append(np.asarray(image.convert("RGB")))
    return np.stack(pictures)


def resized(frames: Frames, height: int, width: int) -> Frames:
    """Resample to a size."""
    images = [Image.fromarray(frame) for frame in frames]
    return np.stack(
        [np.asarray(i.resize((width, height), Image.Resampling.BICUBIC)) for i in images]
    )


def scale(factor: float) -> Distortion:
    """Return a change of size."""
    return lambda frames: resized(
        frames, round(frames.shape[1] * factor), round(frames.shape[2] * factor)
    )


def crop(high: float, wide: float, chance: np.random.Generator) -> Distortion:
    """Return what keeps a share of each side, anywhere."""

    def cut(frames: Frames) -> Frames:
        height, width = round(frames.shape[1] * high), round(frames.shape[2] * wide)
        top = chance.integers(frames.shape[1] - height + 1)
        left = chance.integers(frames.shape[2] - width + 1)
        return frames[:, top : top + height, left : left + width]

    return cut


def tone(brightness: float, contrast: float) -> Distortion:
    """Return a shift of brightness, in steps of 256, and a factor of contrast about the middle."""

    def changed(frames: Frames) -> Frames:
        values = (frames.astype(np.float32) - 128) * contrast + 128 + brightness
        toned: Frames = np.clip(values, 0, 255).astype(np.uint8)
        return toned

    return changed


def screenshot(frames: Frames) -> Frames:
    """The middle frame of an H.264 file, as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(h264(23)(frames)[len(frames) // 2]).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer).convert("RGB"))[None]


def one_after_other(*steps: Distortion) -> Distortion:
    """Return all steps in turn."""

    def all_of_them(frames: Frames) -> Frames:
        for step in steps:
            frames = step(frames)
        return frames

    return all_of_them
