"""Checks of what users give: texts, numbers, names of options, sizes and lengths of clips."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

from mcm.errors import UserError

_SPACES = "\t\n\r"
_UNSEEN = ("Cc", "Cf", "Mn", "Me", "Zl", "Zp", "Zs")
"""Categories of Unicode that show nothing by themselves."""
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters of other categories that show nothing either."""


def check_text(text: str, where: str) -> str:
    """Return a text that a model or a file name is made of.

    Raises:
        UserError: It is no text, or holds control characters or broken Unicode.
    """
    if not isinstance(text, str):
        raise UserError(f"{where}: got {text!r:.60}, expected text")
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in _SPACES:
            raise UserError(f"{where}: holds the control character U+{ord(letter):04X}; remove it")
    return text


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or of spaces and letters that have no shape."""
    return all(unicodedata.category(one) in _UNSEEN or one in _BLANK_LETTERS for one in text)


def check_whole(value: object, where: str) -> int:
    """Return a whole number.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f"{where}: got {value!r:.60}, expected a whole number")
    return int(value)


def check_number(value: object, where: str) -> float:
    """Return a number.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{where}: got {value!r:.60}, expected a number")
    return float(value)


def check_start(start: float) -> float:
    """Return the second of a video to begin with.

    Raises:
        UserError: It is no number from 0 on.
    """
    if not 0 <= check_number(start, "start") < math.inf:
        raise UserError(
            f"start: got {start}, expected seconds from the video's beginning, 0 or more"
        )
    return float(start)


def check_only(options: Iterable[str], known: Sequence[str], what: str) -> None:
    """Check that options are among those that something takes.

    Raises:
        UserError: One is not.
    """
    for name in options:
        if name not in known:
            raise UserError(f"{name}: {what} takes {', '.join(known)}; leave out {name!r}")


def check_size(height: int, width: int, factor: int, where: str = "size") -> None:
    """Check that a size in pixels is whole on the latent grid.

    Raises:
        UserError: It is not; the message names the sizes next to it.
    """
    if height % factor or width % factor or min(height, width) < factor:
        low = [max(factor, side // factor * factor) for side in (width, height)]
        high = [max(factor, -(-side // factor) * factor) for side in (width, height)]
        sizes = dict.fromkeys(f"{w}x{h}" for w, h in (low, high))
        raise UserError(
            f"{where}: {width}x{height} (width x height) does not fit the latent grid, which needs "
            f"multiples of {factor}; the nearest sizes are {' and '.join(sizes)}"
        )


def check_frames(frames: int, step: int, where: str = "frames") -> int:
    """Return a number of frames, which is one more than a multiple of ``step``.

    Raises:
        UserError: The model cannot make a clip of that length.
    """
    if check_whole(frames, where) < 1:
        raise UserError(f"{where}: got {frames}, expected at least 1")
    extra = (frames - 1) % step
    if extra:
        low, high = frames - extra, frames - extra + step
        raise UserError(
            f"{where}: got {frames}, but this model makes one frame and then {step} at a time; the "
            f"nearest numbers are {low} and {high}"
        )
    return frames
