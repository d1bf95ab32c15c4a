"""Warnings that are meant for the user, as messages."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from mcm.sampling.options import ModelWarning


@contextmanager
def warnings_to(stream: TextIO) -> Iterator[None]:
    """Tell the user's own warnings as messages, and leave all others alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ModelWarning)
        default = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, ModelWarning):
                print(f"mcm: warning: {message}", file=stream)
            else:
                default(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
