"""Progress of a run on standard error: step, rate, time left, losses, memory."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any, TextIO

import torch

from mcm.distillation.callbacks import Report
from mcm.progress import Meter

SHOWN = ("loss/motion", "loss/adversarial", "loss/clip_adversarial", "loss/critic")


class Display:
    """A bar on a terminal; elsewhere a line every ``every`` steps and at the end."""

    def __init__(
        self,
        steps: int,
        done: int,
        every: int,
        device: torch.device,
        stream: TextIO | None = None,
        minutes: float | None = None,
    ) -> None:
        """Begin to show a run of ``steps``, or of ``minutes`` if those end first.

        ``done`` steps were made by an earlier run.
        """
        self.every, self.device, self.stream = every, device, stream or sys.stderr
        seconds = None if minutes is None else minutes * 60
        self.meter = Meter(steps, time.monotonic, done, seconds=seconds)
        self._stack = ExitStack()
        self._bar: Any = None
        if self.stream.isatty():
            self._bar = self._stack.enter_context(_bar(self.stream))
            self._task = self._bar.add_task("distil", total=1.0, status="")

    def after_step(self, report: Report) -> None:
        """Show a step."""
        self.meter.done, self.meter.skipped = report.step, report.skipped
        status = self.status(report)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.meter.share, status=status)
        elif report.step % self.every == 0 or report.last:
            print(f"distil: {status}", file=self.stream, flush=True)

    def status(self, report: Report) -> str:
        """Return a text such as `20/100 (20%), 1.2/s, 1:07 left, motion 0.02, 3.1 GiB`.

        After the last step the student is still measured and written, which is said.
        """
        losses = [
            f"{name.removeprefix('loss/')} {report.scalars[name]:.3g}"
            for name in SHOWN
            if name in report.scalars
        ]
        memory = f"{peak_memory(self.device) / 2**30:.1f} GiB"
        ending = ["finishing"] if report.last and not report.interrupted else []
        return ", ".join([self.meter.status(), *losses, memory, *ending])

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._stack.close()


def peak_memory(device: torch.device) -> int:
    """Return the greatest memory use of this process so far in bytes, on its device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "xpu":
        return torch.xpu.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if sys.platform == "darwin" else kilobytes * 1024


def _bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[status]}", markup=False),
    )
    return Progress(*columns, console=Console(file=stream))
