"""YAML as recipes are written: `1e-5` is a number, and a key given twice is an error."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from mcm.errors import UserError

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


def parse(text: str, origin: str) -> Any:
    """Return the values of a text.

    Args:
        text: YAML.
        origin: Where it is from, for the error.

    Raises:
        UserError: It is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{origin}, line {mark.line + 1}" if mark and mark.line else origin
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"{where}: not valid YAML: {problem}") from None
    except (KeyError, OverflowError, RecursionError, ValueError) as error:
        raise UserError(f"{origin}: not valid YAML: {error}") from None


def to_yaml(values: Any) -> str:
    """Return values as a text that `parse` reads back equal."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
