"""What a process that runs one command and ends may do that a library may not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Make packages that are not loaded yet look as if they were not installed.

    diffusers loads what it finds of its optional companions, needed or not; `mcm generate`
    starts about 1.5 s sooner without `peft` and `scipy`. What was imported inside stays as it
    is, so this is for processes that need those packages for nothing else.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
