"""Motion Consistency Model: few-step video generation by distillation.

Examples:
    >>> import mcm
    >>> student = mcm.load("fluent-mcm")  # doctest: +SKIP
    >>> clip = student.generate("a fox moving left on a blue background", steps=4, seed=7)
    ... # doctest: +SKIP
    >>> mcm.edit("fox.mp4", "a fox on a red background").save("red.mp4")  # doctest: +SKIP

Importing the package loads no heavy library; each public name is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcm.api import distill, edit, evaluate, generate, stream
    from mcm.errors import UserError
    from mcm.evaluation.evaluate import Evaluation
    from mcm.recipe import Recipe
    from mcm.sampling.clip import Clip
    from mcm.sampling.loading import load
    from mcm.sampling.pipeline import VideoModel

__version__ = "0.1.0"

__all__ = [
    "Clip",
    "Evaluation",
    "Recipe",
    "UserError",
    "VideoModel",
    "__version__",
    "distill",
    "edit",
    "evaluate",
    "generate",
    "load",
    "stream",
]

_HOMES = {
    "Clip": "mcm.sampling.clip",
    "Evaluation": "mcm.evaluation.evaluate",
    "Recipe": "mcm.recipe",
    "UserError": "mcm.errors",
    "VideoModel": "mcm.sampling.pipeline",
    "distill": "mcm.api",
    "edit": "mcm.api",
    "evaluate": "mcm.api",
    "generate": "mcm.api",
    "load": "mcm.sampling.loading",
    "stream": "mcm.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that holds it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mcm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
