"""Checks of single values: texts, numbers, and names of options."""

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
