"""Moving and still images: gif, webp, a folder of PNG frames, a sprite sheet.

They are encoded in memory: Pillow does not say why it failed to write to a file.
"""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mcm import __version__
from mcm.media.containers import Frames
from mcm.media.metadata import exif, png_info


def write_gif(path: Path, frames: Frames, fps: float, comment: str) -> None:
    """Write an endless gif with one palette for the whole clip."""
    images = with_one_palette(frames)
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=durations(len(images), fps, unit=10),
        loop=0,
        comment=comment.encode("ascii"),
        optimize=False,
    )
    path.write_bytes(buffer.getvalue())


def write_webp(path: Path, frames: Frames, fps: float, comment: str) -> None:
    """Write an endless animated webp; with alpha if the frames have it."""
    path.write_bytes(webp_bytes(frames, fps, comment))


def webp_bytes(frames: Frames, fps: float, comment: str = "") -> bytes:
    """Return an endless animated webp; colours of transparent pixels are kept."""
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=images[1:],
        duration=durations(len(images), fps, unit=1),
        loop=0,
        quality=90,
        method=4,
        exact=True,
        exif=exif(comment),
    )
    return buffer.getvalue()


def jpeg_bytes(image: Frames) -> bytes:
    """Return one image (h, w, 3) as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def write_frames(folder: Path, frames: Frames, fps: float, comment: str) -> None:
    """Write a folder of PNG files, 0000.png and on; every one holds the metadata."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        write_png(folder / f"{number:04}.png", frame, comment)


def write_png(path: Path, image: Frames, comment: str) -> None:
    """Write one image (h, w, 3), or with alpha (h, w, 4)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=png_info(comment))
    path.write_bytes(buffer.getvalue())


def with_one_palette(frames: Frames) -> list[Image.Image]:
    """Return palette images of frames that share the 256 colours best for all of them."""
    everything = Image.fromarray(np.concatenate(list(frames)))
    palette = everything.quantize(256, method=Image.Quantize.MEDIANCUT)
    dither = Image.Dither.FLOYDSTEINBERG
    return [Image.fromarray(frame).quantize(palette=palette, dither=dither) for frame in frames]


def durations(count: int, fps: float, unit: int) -> list[int]:
    """Return each frame's milliseconds in whole units whose sum stays next to the true time."""
    ends = [round(number * 1000 / fps / unit) * unit for number in range(count + 1)]
    return [max(unit, end - start) for start, end in itertools.pairwise(ends)]


def sprite_sheet(frames: Frames, fps: float, name: str) -> tuple[Frames, bytes]:
    """Lay frames out in rows and describe them.

    Args:
        frames: Frames (t, h, w, 3), or with alpha (t, h, w, 4).
        fps: Frames per second.
        name: Name of the PNG file, without its ending.

    Returns:
        The sheet (H, W, 3 or 4), about square, and JSON in TexturePacker's hash format with
        ``animations`` as game engines read them and ``duration`` in milliseconds.
    """
    count, height, width, channels = frames.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * height, columns * width, channels), np.uint8)
    places: dict[str, dict[str, Any]] = {}
    for number, (frame, duration) in enumerate(
        zip(frames, durations(count, fps, unit=1), strict=True)
    ):
        y, x = number // columns * height, number % columns * width
        sheet[y : y + height, x : x + width] = frame
        places[f"{name}_{number:04}.png"] = _place(x, y, width, height, duration)
    meta = {
        "app": "mcm",
        "version": __version__,
        "image": f"{name}.png",
        "format": "RGBA8888" if channels == 4 else "RGB888",
        "size": {"w": sheet.shape[1], "h": sheet.shape[0]},
        "scale": "1",
    }
    described = {"frames": places, "animations": {name: list(places)}, "meta": meta}
    return sheet, json.dumps(described, indent=1).encode()


def _place(x: int, y: int, width: int, height: int, duration: int) -> dict[str, Any]:
    return {
        "frame": {"x": x, "y": y, "w": width, "h": height},
        "rotated": False,
        "trimmed": False,
        "spriteSourceSize": {"x": 0, "y": 0, "w": width, "h": height},
        "sourceSize": {"w": width, "h": height},
        "duration": duration,
    }
