"""The typed recipe: YAML file, dotted overrides, inheritance.

A recipe file holds the sections of `mcm.settings.Recipe`. `base: other.yaml` (relative to the
file that says it) takes another file's values first, and its base's before them. Overrides such
as `optimizer.lr=1e-5` come last; their values are read as YAML.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mcm.errors import UserError
from mcm.settings import Recipe
from mcm.settings.faults import explain
from mcm.settings.yaml_text import parse, to_yaml

__all__ = ["Recipe", "dump", "keys", "read", "resolve", "save"]

S = TypeVar("S", bound=BaseModel)

FILE_NAME = "recipe.yaml"
_MOST_BASES = 50


def resolve(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, its base and the overrides into one checked recipe.

    Args:
        path: YAML file.
        overrides: `section.key=value` strings; the last one of a key wins.

    Returns:
        The recipe, frozen.

    Raises:
        UserError: A file is missing or not YAML, a key is unknown, or a value does not fit.
    """
    return read(path, Recipe, overrides)


def read(path: str | os.PathLike[str], kind: type[S], overrides: Sequence[str] = ()) -> S:
    """Read a YAML file of sections of any kind.

    Args:
        path: YAML file.
        kind: The model of its sections.
        overrides: As in `resolve`.

    Returns:
        The values, checked.

    Raises:
        UserError: As in `resolve`.
    """
    file = Path(path)
    values = _with_base(file)
    for override in overrides:
        values = _merged(values, _parse_override(override))
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        told = explain(error, values, overrides, file, list(keys(kind)))
        raise UserError(told) from None


def dump(recipe: Recipe) -> str:
    """Return the recipe as YAML that `resolve` reads back equal."""
    return to_yaml(recipe.model_dump(mode="json"))


def save(recipe: Recipe, folder: str | os.PathLike[str]) -> Path:
    """Write `recipe.yaml` into a folder in one atomic move.

    Args:
        recipe: What to write, as `dump` has it.
        folder: Made when missing.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
    """
    target = Path(folder) / FILE_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.part")
    partial.write_text(dump(recipe), encoding="utf-8")
    partial.replace(target)
    return target


def keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key, sections before their fields.

    Args:
        model: A model of sections.
        prefix: What every key begins with.
    """
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


def _with_base(file: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a file's values over those of its base; ``below`` are the files that led to it."""
    values = _read(file)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UserError(f"{file}: base: got {base!r}, expected the path of a recipe")
    place = file.parent / base
    try:
        chain, resolved = (*below, file.resolve()), place.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{file}: base: {base!r} is no path of a file ({error})") from None
    if len(chain) > _MOST_BASES:
        raise UserError(f"{file}: base: more than {_MOST_BASES} files, one the base of the other")
    if resolved in chain:
        raise UserError(
            f"{file}: base: {base} leads back to itself; remove the base of one of the files"
        )
    return _merged(_with_base(place, chain), values)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; give the path of a YAML file") from None
    except (IsADirectoryError, ValueError):
        raise UserError(f"{file}: not a recipe; give the path of a YAML file") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    values = parse(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{file}: expected sections with their fields, got {values!r:.60}")
    return values


def _parse_override(override: str) -> dict[str, Any]:
    path, sign, text = override.partition("=")
    parts = path.strip().split(".")
    if not sign or not all(parts):
        raise UserError(f"override {override!r}: expected key=value, such as optimizer.lr=1e-5")
    value = parse(text, f"override {override!r}")
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with the values of `above`; sections merge, lists are replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        result[key] = value
    return result
