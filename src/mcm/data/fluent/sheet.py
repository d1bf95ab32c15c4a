"""A contact sheet of the world: poor video, clean images, flat drawings."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mcm.data.fluent import render
from mcm.data.fluent.scene import FRAME_SIZE, FRAMES, Split
from mcm.data.fluent.world import World


def contact_sheet(rows: int, split: Split = "train", world: World | None = None) -> Image.Image:
    """Return ``rows`` clips as rows of frames, then two rows each of clean and flat stills."""
    world = world or World()
    lines = [_poor_frames(world, number, split) for number in range(rows)]
    for domain in ("image", "flat"):
        for row in range(2):
            numbers = range(row * FRAMES, (row + 1) * FRAMES)
            lines.append([world.still(number, domain, split).image for number in numbers])
    sheet = Image.new("RGB", (FRAMES * FRAME_SIZE, len(lines) * FRAME_SIZE))
    for row, line in enumerate(lines):
        for column, frame in enumerate(line):
            sheet.paste(frame, (column * FRAME_SIZE, row * FRAME_SIZE))
    return sheet


def write_sheet(output: Path, rows: int, split: Split = "train") -> Path:
    """Write the contact sheet as PNG and return its path."""
    contact_sheet(rows, split).save(output)
    return output


def _poor_frames(world: World, number: int, split: Split) -> list[Image.Image]:
    video, _, _ = world.poor_video(number, split)
    return [Image.fromarray(frame) for frame in render.decode(video)]
