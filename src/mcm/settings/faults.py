"""What is wrong with values of a recipe, told to the person who gave them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_LEAST_LIKENESS = 0.6


def explain(
    error: ValidationError,
    values: Any,
    overrides: Sequence[str],
    file: Path,
    known: Sequence[str],
) -> str:
    """Return a line for each value that does not fit: where it was given and what was expected.

    Args:
        error: What the checker found.
        values: All values as they were given.
        overrides: `section.key=value` strings among them.
        file: Where the others are from.
        known: Every valid dotted key.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    faults: dict[str, list[str]] = {}
    for detail in error.errors():
        where, fault = _describe(detail, values, given, file, known)
        faults.setdefault(where, []).append(fault)
    return "\n".join(f"{where}: {_either(found)}" for where, found in faults.items())


def _describe(
    detail: ErrorDetails, values: Any, overridden: Iterable[str], file: Path, known: Sequence[str]
) -> tuple[str, str]:
    """Return where a fault was given, with its path, and its value and what was expected."""
    whole = detail["type"] == "extra_forbidden"  # else tags of alternatives stand in the path
    parts = [str(part) for part in detail["loc"]]
    path = ".".join(part for part in parts if whole or re.fullmatch(r"\w+", part))
    if detail["type"] == "value_error":
        field, _, rule = str(detail["ctx"]["error"]).partition(": ")
        path = f"{path}.{field}".lstrip(".")
        fault = f"got {_at(values, path)!r}, which {rule}"
    elif detail["type"] == "extra_forbidden":
        fault = f"unknown key; {_suggestion(path, known)}"
    elif detail["type"] == "missing" and isinstance(detail["loc"][-1], int):
        path = path.rpartition(".")[0]
        fault = f"got {list(detail['input'])}, expected one value more"
    elif detail["type"] == "missing":
        fault = f"missing; give it in the recipe or as {path}=value"
    else:
        fault = f"got {detail['input']!r}, expected {_expected(detail['msg'])}"
    origin = "override" if any(_overlap(path, key) for key in overridden) else str(file)
    return f"{origin}: {path}", fault


def _either(faults: Sequence[str]) -> str:
    """Return the faults of one value, which fits none of several alternatives, as one."""
    rest = [fault.partition("expected ")[2] for fault in faults[1:]]
    return ", or ".join(dict.fromkeys([faults[0], *filter(None, rest)]))


def _expected(message: str) -> str:
    """Return what a message of the checker asks for: `Input should be a valid integer`."""
    wanted = re.sub(r"^\w+ should (be |have )?", "", message)
    wanted = re.sub(r" dictionary or instance of \w+$", " section of keys", wanted)
    wanted = wanted.replace("valid tuple", "list")
    return re.sub(r"^(greater|less) than", r"a number \1 than", wanted)


def _overlap(path: str, key: str) -> bool:
    return path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.")


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _suggestion(path: str, known: Sequence[str]) -> str:
    """Name the valid keys nearest to an unknown one, or list the keys of its section."""
    scores = {key: _likeness(path, key) for key in known}
    best = max(scores.values())
    if best > 0:
        nearest = " or ".join(key for key, score in scores.items() if score == best)
        return f"the nearest valid key is {nearest}"
    section = path.rpartition(".")[0]
    inside = [key.rpartition(".") for key in known]
    return f"valid keys here: {', '.join(leaf for head, _, leaf in inside if head == section)}"


def _likeness(path: str, key: str) -> float:
    """Return in [0, 1] how alike two dotted keys are; 0 when their last parts are not."""
    (section, _, leaf), (other_section, _, other_leaf) = path.rpartition("."), key.rpartition(".")
    initials = "".join(word[:1] for word in leaf.split("_"))
    leaves = difflib.SequenceMatcher(None, leaf, other_leaf).ratio()
    leaves = 1.0 if initials == other_leaf else leaves
    sections = difflib.SequenceMatcher(None, section, other_section).ratio()
    return 0.75 * leaves + 0.25 * sections if leaves >= _LEAST_LIKENESS else 0.0
