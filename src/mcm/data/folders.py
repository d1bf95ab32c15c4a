"""Plain folders of files with a table of captions, CSV or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mcm.data.samples import Sample, SampleError
from mcm.errors import UserError, nearest

TABLE_NAMES = ("captions.csv", "captions.jsonl")
COLUMNS = ("file", "caption")


@dataclass(frozen=True)
class _Row:
    line: int
    values: dict[str, Any] | None


class FolderSource:
    """Samples of a table with the columns `file` and `caption`, in the order of the table.

    Further columns become metadata.

    Args:
        table: CSV or JSONL file, UTF-8.
        root: Folder that `file` is relative to; the table's own when not given.

    Raises:
        UserError: The table is missing, not UTF-8, empty, or lacks a column.
    """

    def __init__(self, table: str | Path, root: str | Path | None = None) -> None:
        self.table = Path(table)
        self.root = Path(root) if root is not None else self.table.parent
        self._rows = _read_rows(self.table)

    def __iter__(self) -> Iterator[Sample | SampleError]:
        """Yield every row; one without caption or file comes as an error."""
        for row in self._rows:
            yield self._sample(row)

    def length(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def _sample(self, row: _Row) -> Sample | SampleError:
        place = f"{self.table.name}, line {row.line}"
        if row.values is None:
            return SampleError(place, "corrupt", "not a JSON object")
        metadata = dict(row.values)
        file, caption = (_text(metadata.pop(column, None)) for column in COLUMNS)
        if not file:
            return SampleError(place, "no media", "the column 'file' is empty")
        if not caption:
            return SampleError(file, "no caption", f"{place}: the column 'caption' is empty")
        path = self.root / file
        if not path.is_file():
            return SampleError(file, "missing", f"{place}: {path} is not there")
        return Sample(PurePosixPath(file).with_suffix("").as_posix(), caption, path, file, metadata)


def find_table(folder: Path) -> Path | None:
    """Return the table of captions in a folder.

    Raises:
        UserError: There are two.
    """
    found = [folder / name for name in TABLE_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: holds {' and '.join(TABLE_NAMES)}; name the one you mean")
    return found[0] if found else None


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _read_rows(table: Path) -> list[_Row]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{table}: no such file; give a CSV or JSONL file of captions") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table}: not UTF-8 (byte {error.start}); save the table as UTF-8 text"
        ) from None
    rows = _json_rows(text) if table.suffix.lower() == ".jsonl" else _csv_rows(text, table)
    if not rows:
        raise UserError(f"{table}: no samples; expected rows with the columns file and caption")
    if rows[0].values is not None:
        _check_columns(table, list(rows[0].values))
    return rows


def _csv_rows(text: str, table: Path) -> list[_Row]:
    reader = csv.DictReader(text.splitlines(keepends=True), restkey="")
    _check_columns(table, reader.fieldnames or [])
    return [_Row(reader.line_num, {name: row[name] for name in row if name}) for row in reader]


def _json_rows(text: str) -> list[_Row]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [_Row(number, _json_object(line)) for number, line in lines]


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _check_columns(table: Path, found: Sequence[str]) -> None:
    for column in COLUMNS:
        if column in found:
            continue
        near = nearest(column, [name for name in found if name not in COLUMNS])
        advice = f"rename {near!r} to {column!r}" if near else f"add a column {column!r}"
        raise UserError(f"{table}: no column {column!r} among {', '.join(found)}; {advice}")
