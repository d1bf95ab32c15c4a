"""The typed recipe: YAML file, dotted overrides, inheritance.

A recipe file holds the sections of `mcm.settings.Recipe`. `base: other.yaml` (relative to the
file that says it) takes another file's values first, and its base's before them. Overrides such
as `optimizer.lr=1e-5` come last; their values are read as YAML.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mcm.errors import UserError
from mcm.settings import Recipe

__all__ = ["Recipe", "dump", "keys", "read", "resolve", "save"]

S = TypeVar("S", bound=BaseModel)

FILE_NAME = "recipe.yaml"
_LEAST_LIKENESS = 0.6
_MOST_BASES = 50
_MERGE, _INT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:int"


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-5` as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r:.60} is no name", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        self.flatten_mapping(node)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes a text such as `1e-5`, which the loader reads as a number."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != _INT]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(  # as YAML 1.2 has them: 010 is not 8, and 1:30 is not 90
    _INT, re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
for _style in (_Loader, _Dumper):
    _style.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


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
        given = {override.partition("=")[0].strip() for override in overrides}
        known = list(keys(kind))
        faults: dict[str, list[str]] = {}
        for detail in error.errors():
            where, fault = _describe(detail, values, given, file, known)
            faults.setdefault(where, []).append(fault)
        lines = [f"{where}: {_either(found)}" for where, found in faults.items()]
        raise UserError("\n".join(lines)) from None


def dump(recipe: Recipe) -> str:
    """Return the recipe as YAML that `resolve` reads back equal."""
    values = recipe.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


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
    values = _parse(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{file}: expected sections with their fields, got {values!r:.60}")
    return values


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{origin}, line {mark.line + 1}" if mark and mark.line else origin
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"{where}: not valid YAML: {problem}") from None
    except (KeyError, OverflowError, RecursionError, ValueError) as error:
        raise UserError(f"{origin}: not valid YAML: {error}") from None


def _parse_override(override: str) -> dict[str, Any]:
    path, sign, text = override.partition("=")
    parts = path.strip().split(".")
    if not sign or not all(parts):
        raise UserError(f"override {override!r}: expected key=value, such as optimizer.lr=1e-5")
    value = _parse(text, f"override {override!r}")
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


def _describe(
    detail: ErrorDetails, values: Any, overridden: set[str], file: Path, known: list[str]
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


def _suggestion(path: str, known: list[str]) -> str:
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
