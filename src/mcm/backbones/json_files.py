"""JSON beside models: cards, configurations and `mcm.json`, of finite numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeGuard

from mcm.errors import UserError

NOTES_FILE = "mcm.json"
_GREATEST = sys.float_info.max


def read_json(path: Path, purpose: str) -> dict[str, Any]:
    """Read a JSON object of finite numbers.

    Raises:
        UserError: The file is missing or not a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {purpose}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected {purpose}") from None
    return parse_json(text, str(path), purpose)


def parse_json(text: str, where: str, purpose: str) -> dict[str, Any]:
    """Return a JSON object of finite numbers.

    Args:
        text: Its text.
        where: What messages begin with.
        purpose: What is expected, for messages.

    Raises:
        UserError: It is none.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: cannot be read ({error}); expected {purpose}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: got {value!r:.60}, expected {purpose}")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def read_notes(path: str | Path) -> dict[str, Any]:
    """Return `mcm.json` of a folder or beside a file, or an empty dictionary.

    Raises:
        UserError: The file is not a JSON object.
    """
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / NOTES_FILE
    return read_json(file, "a JSON object") if file.is_file() else {}


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number, and not true or false."""
    return isinstance(value, int | float) and type(value) is not bool and abs(value) <= _GREATEST


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value of JSON is a whole number, and not true or false."""
    return type(value) is int
