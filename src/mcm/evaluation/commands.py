"""The command line that makes an evaluation, or one row of its table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`mcm evaluate` with its arguments.

    Attributes:
        models: Every model with its options and steps, as ``fluent:sampler=unipc@4,8``.
        options: The words that follow.
    """

    models: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def of(self, model: str, steps: int) -> str:
        """Return what makes the row of a model, written without steps, at some steps."""
        return self._line([f"{model}@{steps}"])

    def __str__(self) -> str:
        return self._line(self.models)

    def _line(self, models: Sequence[str]) -> str:
        return shlex.join(["mcm", "evaluate", *models, *self.options])
