"""What the loop tells those who watch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Report:
    """What the loop says after each step.

    Attributes:
        step: Finished steps.
        steps: Steps of the whole run.
        scalars: Losses, gradient norms, rates and the seconds of the step, by name.
        skipped: Updates left out so far.
        last: Whether the loop ends here.
        interrupted: Whether the user ends it: nothing long is begun.
    """

    step: int
    steps: int
    scalars: Mapping[str, float]
    skipped: int
    last: bool
    interrupted: bool = False

    def due(self, every: int) -> bool:
        """Return whether what takes time is due: every so many steps and at the end."""
        return not self.interrupted and (self.step % every == 0 or self.last)


class Callback(Protocol):
    """Watches the loop; draws nothing from its generators and changes no weights."""

    def after_step(self, report: Report) -> None:
        """Do what is due after a step."""

    def close(self) -> None:
        """Finish; called once, also when the loop fails."""


class Log(Protocol):
    """Where numbers and pictures go."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of a step."""

    def picture(self, step: int, name: str, path: Path) -> None:
        """Record an image file."""

    def close(self) -> None:
        """Write what is not yet written."""
