"""Single-channel pictures of any bit depth: stored values, seen through a window, as grey RGB.

A window is the range of stored values that is shown, as radiology uses the word: what is at or
below its lower end is black, what is at or above its upper end is white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcm.data.resize import Pixels, row_blocks
from mcm.errors import UserError

if TYPE_CHECKING:
    from av import VideoFrame

Window = tuple[float, float]
UNIT: Window = (0, 1)
"""What is shown of floats where no window is given."""


def parse_window(text: str) -> Window:
    """Turn ``LOW,HIGH`` into a window.

    Raises:
        UserError: It is not two numbers.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"window: got {text!r}, expected LOW,HIGH in stored values, such as 0,4095"
        ) from None
    return low, high


def through_window(values: NDArray[Any], window: Window) -> Pixels:
    """Map stored values linearly onto grey levels.

    Args:
        values: One channel of any number type, (…, h, w).
        window: Values that become 0 and 255; the others are rounded between or clipped, and what is
            no number is 0.

    Returns:
        uint8 (…, h, w, 3), the three channels equal.
    """
    low, high = window
    grey = np.empty(values.shape, np.uint8)
    rows, shown = (array.reshape(-1, values.shape[-1]) for array in (values, grey))
    for block in row_blocks(*rows.shape):
        levels = (rows[block].astype(np.float64) - low) * 255 / (high - low)
        shown[block] = np.rint(np.nan_to_num(levels, nan=0).clip(0, 255))
    return np.repeat(grey[..., None], 3, axis=-1)


def stored_values(frame: VideoFrame) -> NDArray[Any] | None:
    """Return the values of a single-channel frame as they are stored, (h, w); else ``None``.

    That is 0 to 2ⁿ − 1 for a frame of n bits, whatever the container holds them in.
    """
    name = frame.format.name
    if not name.startswith("gray") or len(frame.format.components) != 1:
        return None
    order = ">" if name.endswith("be") else "<"
    if name.startswith("grayf"):
        kind = f"{order}f{2 if '16' in name else 4}"
    else:
        kind = f"{order}u{1 if frame.format.components[0].bits <= 8 else 2}"
    plane: Any = frame.planes[0]
    length = int(plane.line_size) // np.dtype(kind).itemsize  # rows may be padded
    rows: NDArray[Any] = np.frombuffer(plane, dtype=kind).reshape(-1, length)
    return rows[: frame.height, : frame.width]
