"""Clips beside each other: side by side as a video, in rows as a labelled contact sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from mcm.media.containers import Frames

_GAP = 4
_LABEL_HEIGHT = 16
_WHITE = 255


def side_by_side(clips: Sequence[Frames], labels: Sequence[str] = ()) -> Frames:
    """Put clips of one size next to each other, as long as the shortest.

    Args:
        clips: Each uint8, (t, h, w, 3).
        labels: One per clip, written above it; none for no labels.

    Returns:
        One clip, (t, H, W, 3).
    """
    count = min(len(clip) for clip in clips)
    gap = np.full((count, clips[0].shape[1], _GAP, 3), _WHITE, np.uint8)
    parts = [part for clip in clips for part in (clip[:count], gap)][:-1]
    row = np.concatenate(parts, axis=2)
    if not labels:
        return row
    header = _labels(labels, clips[0].shape[2] + _GAP, row.shape[2])
    return np.concatenate([np.broadcast_to(header, (count, *header.shape)), row], axis=1)


def contact_sheet(clips: Sequence[Frames], labels: Sequence[str] = (), columns: int = 8) -> Frames:
    """Lay out some frames of each clip in a row of its own.

    Args:
        clips: Each uint8, (t, h, w, 3), all of one size.
        labels: One per clip, written above its row; none for no labels.
        columns: Frames of each clip to show, evenly spaced, first and last among them.

    Returns:
        One image, (H, W, 3).
    """
    rows: list[Frames] = []
    for number, clip in enumerate(clips):
        chosen = np.linspace(0, len(clip) - 1, columns).round().astype(int)
        row = side_by_side([clip[index : index + 1] for index in chosen])[0]
        if labels:
            rows.append(_labels([labels[number]], row.shape[1], row.shape[1]))
        rows += [row, np.full((_GAP, row.shape[1], 3), _WHITE, np.uint8)]
    return np.concatenate(rows[:-1])


def _labels(labels: Sequence[str], spacing: int, width: int) -> Frames:
    header = Image.new("RGB", (width, _LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(header)
    for number, label in enumerate(labels):
        draw.text((number * spacing + 2, 2), label, fill="black")
    return np.asarray(header)
