"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mcm.errors import UserError


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a cell's own bars are escaped.

    Args:
        heads: Titles of the columns.
        rows: As many cells each.
    """
    head, *body = [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
        for row in (heads, *rows)
    ]
    return [head, "|---" * len(heads) + "|", *body]


def check_folder_of(file: Path) -> None:
    """Make sure, before long work, that a file can be written where it is to be.

    Raises:
        UserError: There is no such folder, or the name is one of a folder.
    """
    if not file.parent.is_dir():
        raise UserError(f"{file}: there is no folder {file.parent}; make it first")
    if file.is_dir() or not file.suffix:
        raise UserError(f"{file}: expected the name of a file, such as {file / 'table.md'}")
