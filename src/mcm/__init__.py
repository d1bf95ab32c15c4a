"""Motion Consistency Model: few-step video generation by distillation.

Examples:
    >>> import mcm
    >>> student = mcm.load("fluent-mcm")  # doctest: +SKIP
    >>> clip = student.generate("a fox moving left on a blue background", steps=4, seed=7)
    ... # doctest: +SKIP

Importing the package loads no heavy library; each public name is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcm.errors import UserError
    from mcm.recipe import Recipe
    from mcm.sampling.pipeline import load

__version__ = "0.1.0"

__all__ = ["Recipe", "UserError", "__version__", "load"]

_HOMES = {
    "Recipe": "mcm.recipe",
    "UserError": "mcm.errors",
    "load": "mcm.sampling.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that holds it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mcm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
