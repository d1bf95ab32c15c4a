"""Clips side by side: a contact sheet (PNG) and an animation (WebP)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mcm.data.files import write_atomically

COLUMNS = 8
LINE = 14
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True, eq=False)
class Row:
    """One clip of a sheet.

    Attributes:
        label: Who made it.
        title: What it shows, above the row; may be empty.
        frames_thwc: Frames, uint8.
    """

    label: str
    title: str
    frames_thwc: NDArray[np.uint8]


def save_sheet(rows: Sequence[Row], path: Path) -> Path:
    """Write one row for each clip, eight frames evenly taken from it."""
    strips = [_strip(row) for row in rows]
    width, height = max(strip.width for strip in strips), sum(strip.height for strip in strips)
    sheet, top = Image.new("RGB", (width, height), _PAPER), 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return _save(sheet, path, format="PNG")


def save_animation(rows: Sequence[Row], columns: int, fps: float, path: Path) -> Path:
    """Write the clips as tiles that play together, ``columns`` of them side by side."""
    count = min(len(row.frames_thwc) for row in rows)
    frames = [_tiles(rows, columns, index) for index in range(count)]
    return _save(
        frames[0],
        path,
        format="WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / fps),
        loop=0,
        quality=80,
    )


def _strip(row: Row) -> Image.Image:
    count = len(row.frames_thwc)
    chosen = [i * count // COLUMNS for i in range(COLUMNS)] if count > COLUMNS else range(count)
    pixels = np.concatenate([row.frames_thwc[i] for i in chosen], axis=1)
    text = f"{row.title} | {row.label}" if row.title else row.label
    return _labelled(pixels, text)


def _tiles(rows: Sequence[Row], columns: int, index: int) -> Image.Image:
    tiles = [_labelled(row.frames_thwc[index], row.label) for row in rows]
    width, height = tiles[0].size
    lines = -(-len(tiles) // columns)
    image = Image.new("RGB", (columns * width, lines * height), _PAPER)
    for place, tile in enumerate(tiles):
        image.paste(tile, (place % columns * width, place // columns * height))
    return image


def _labelled(pixels_hwc: NDArray[np.uint8], text: str) -> Image.Image:
    height, width = pixels_hwc.shape[:2]
    image = Image.new("RGB", (width, height + LINE), _PAPER)
    ImageDraw.Draw(image).text((2, 1), text, fill=_INK)
    image.paste(Image.fromarray(pixels_hwc), (0, LINE))
    return image


def _save(image: Image.Image, path: Path, **options: object) -> Path:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
    return path
