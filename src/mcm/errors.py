"""The error type that means that the user can mend it, and the one for a part of the work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave: a field, a file, a prompt.

    The message names the field or file, the value, what was expected and how to
    fix it. The command line prints it without a traceback and exits with code 2.
    """


class IncompleteError(RuntimeError):
    """A part of the work could not be done; the rest is done. Names the part."""


def install_hint(extra: str) -> str:
    """Return how to install an extra: from an index, or from a clone."""
    return f"pip install 'motion-consistency[{extra}]', or in a clone pip install '.[{extra}]'"


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like ``name``, or ``None`` when nothing is close."""
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.4)
    return matches[0] if matches else None
