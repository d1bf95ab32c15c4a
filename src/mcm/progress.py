"""Progress of long work: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeVar

T = TypeVar("T")
Clock = Callable[[], float]
_SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Meter:
    """Counts work and tells its rate and the time left.

    Attributes:
        total: Amount of work, or `None` when unknown.
        clock: Seconds that only grow.
        done: Work done, including what an earlier run did.
        skipped: Work left out.
        seconds: Time after which the work ends even if some remains, or `None`.
    """

    total: int | None
    clock: Clock
    done: int = 0
    skipped: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._done_before = self.done

    def add(self, done: int, skipped: int) -> None:
        """Count more work."""
        self.done += done
        self.skipped += skipped

    @property
    def rate(self) -> float:
        """Units a second in this run; 0 before anything is done."""
        seconds = self.elapsed
        return (self.done - self._done_before) / seconds if seconds > 0 else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of this run."""
        return self.clock() - self._began

    @property
    def share(self) -> float:
        """How much is done, 0 to 1: of the work or of the time, whichever ends first."""
        of_work = self.done / self.total if self.total else 0.0
        of_time = self.elapsed / self.seconds if self.seconds else 0.0
        return max(of_work, min(of_time, 1.0))

    @property
    def left(self) -> float | None:
        """Seconds left, or `None` when unknown or when all is done."""
        ends = []
        if self.total and self.done >= self.total:
            return None
        if self.total and self.rate > 0:
            ends.append((self.total - self.done) / self.rate)
        if self.seconds:
            ends.append(max(self.seconds - self.elapsed, 0.0))
        return min(ends, default=None)

    def status(self) -> str:
        """Return a text such as `128/512 (25%), 4.2/s, 1:31 left, 3 skipped`."""
        parts = [f"{self.done}"]
        if self.total:
            parts = [f"{self.done}/{self.total} ({self.share:.0%})"]
        parts.append(f"{self.rate:.3g}/s")
        if self.left is not None:
            parts.append(f"{_clock_time(self.left)} left")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        return ", ".join(parts)


@dataclass
class Bar:
    """What the worker holds: `advance` counts and shows."""

    meter: Meter
    show: Callable[[Meter], None]

    def advance(self, done: int = 1, skipped: int = 0) -> None:
        """Count work done and work left out."""
        self.meter.add(done, skipped)
        self.show(self.meter)


@contextmanager
def progress(
    description: str,
    total: int | None = None,
    *,
    done: int = 0,
    seconds: float | None = None,
    visible: bool = True,
    stream: TextIO | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[Bar]:
    """Show the progress of a block of work on standard error.

    On a terminal it is a bar with rate, time left and the number skipped; elsewhere one line at
    most every 10 seconds, and one at the end.

    Args:
        description: What is being done, such as `cache videos`.
        total: Amount of work, or `None` when unknown.
        done: What an earlier run did; counts for the bar, not for the rate.
        seconds: Time after which the work ends even if some remains.
        visible: `False` shows nothing.
        stream: Where to write instead.
        clock: Where the time comes from.
    """
    stream = stream or sys.stderr
    meter = Meter(total, clock, done, seconds=seconds)
    if not visible:
        yield Bar(meter, lambda _: None)
    elif stream.isatty():
        with _rich_bar(description, meter, stream) as bar:
            yield bar
    else:
        with _line_bar(description, meter, stream) as bar:
            yield bar


def track(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    visible: bool = True,
    stream: TextIO | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[T]:
    """Yield the items and show how far it is; arguments as `progress`.

    The total is the length of the items where they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total, visible=visible, stream=stream, clock=clock) as bar:
        for item in items:
            yield item
            bar.advance()


@contextmanager
def _rich_bar(description: str, meter: Meter, stream: TextIO) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=Console(file=stream)) as display:
        task = display.add_task(
            description, total=meter.total, completed=meter.done, status=meter.status()
        )
        yield Bar(meter, lambda m: display.update(task, completed=m.done, status=m.status()))


@contextmanager
def _line_bar(description: str, meter: Meter, stream: TextIO) -> Iterator[Bar]:
    last = meter.clock()

    def show(meter: Meter) -> None:
        nonlocal last
        if meter.clock() - last >= _SECONDS_BETWEEN_LINES:
            last = meter.clock()
            print(f"{description}: {meter.status()}", file=stream, flush=True)

    try:
        yield Bar(meter, show)
    finally:
        print(f"{description}: {meter.status()}", file=stream, flush=True)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
