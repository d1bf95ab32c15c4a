"""A contact sheet of the world: poor video, clean images, flat drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mcm.data.fluent import render
from mcm.data.fluent.scene import FRAMES, Split
from mcm.data.fluent.world import World
from mcm.media.containers import Frames
from mcm.media.layout import contact_sheet
from mcm.media.save import save_image

_STILL_ROWS = 2


def world_sheet(rows: int, split: Split = "train", world: World | None = None) -> Frames:
    """Return ``rows`` clips as rows of frames, then two rows each of clean and flat stills."""
    world = world or World()
    lines = [render.decode(world.poor_video(number, split)[0]) for number in range(rows)]
    for domain in ("image", "flat"):
        for row in range(_STILL_ROWS):
            numbers = range(row * FRAMES, (row + 1) * FRAMES)
            stills = [world.still(number, domain, split).image for number in numbers]
            lines.append(np.stack([np.asarray(still) for still in stills]))
    return contact_sheet(lines, columns=FRAMES)


def write_sheet(output: Path, rows: int, split: Split = "train") -> Path:
    """Write the contact sheet as PNG and return its path."""
    return save_image(world_sheet(rows, split), output, overwrite=True, generated=False)
