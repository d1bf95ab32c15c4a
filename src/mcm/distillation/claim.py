"""One process at a time may train into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mcm.errors import UserError

LOCK = ".lock"


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """Hold the folder of a run, which is made if it is not there; a killed process lets it go.

    Raises:
        UserError: Another process holds it.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / LOCK)
    try:
        with suppress(NotImplementedError):  # a file system without locks
            lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"trainer.output: {output}: another process trains into this folder; wait for it, or "
            "give another one"
        ) from None
    try:
        yield
    finally:
        lock.release()
