"""Files of prompts, text, CSV or JSONL, and the clips that their rows ask for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcm.checks import check_text
from mcm.errors import UserError, nearest
from mcm.sampling.options import check_prompt, check_seed, check_steps

_COLUMNS = ("prompt", "seed", "steps", "output")
_TEXTS = ("prompt", "output")


@dataclass(frozen=True)
class Job:
    """One clip to make.

    Attributes:
        prompt: What it shows.
        seed: Its seed.
        steps: Network steps, or `None` for the model's own.
        output: Where it goes; `None` until a place is chosen.
        format: How it is written.
        is_made: Whether it stands at its place already and shall stay as it is.
    """

    prompt: str
    seed: int
    steps: int | None = None
    output: Path | None = None
    format: str = "mp4"
    is_made: bool = False

    @property
    def path(self) -> Path:
        """Where the clip goes."""
        assert self.output is not None
        return self.output


def read_prompts(file: Path, first_seed: int) -> list[Job]:
    """Read the jobs of a prompts file (txt, csv or jsonl).

    Raises:
        UserError: The file is missing, empty or malformed; names the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{file}: no such prompts file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file in UTF-8") from None
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    rows = list(readers.get(file.suffix.lower(), _text_rows)(text, file))
    if not rows:
        raise UserError(f"{file}: holds no prompt; write one per line")
    return [
        _job(row, first_seed + number, f"{file}, line {line}")
        for number, (line, row) in enumerate(rows)
    ]


def _text_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, {"prompt": line}


def _csv_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="more columns than the header")
    try:
        _check_columns(reader.fieldnames or (), f"{file}, line 1")
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if value}
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not CSV: {error}") from None


def _jsonl_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: got {line!r:.60}, expected an object")
        for name in _TEXTS:
            if not isinstance(row.get(name), str | None):
                raise UserError(f"{where}: {name}: got {row[name]!r:.60}, expected text")
        yield number, row


def _check_columns(names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in _COLUMNS:
            guess = nearest(name, _COLUMNS)
            hint = f"; did you mean {guess}?" if guess else ""
            raise UserError(f"{where}: {name!r} is unknown; expected {', '.join(_COLUMNS)}{hint}")


def _job(row: Mapping[str, Any], seed: int, where: str) -> Job:
    _check_columns(list(row), where)
    steps, own_seed = (_whole(row.get(name), f"{where}: {name}") for name in ("steps", "seed"))
    output = check_text(row.get("output") or "", f"{where}: output")
    return Job(
        prompt=check_prompt(row.get("prompt") or "", f"{where}: prompt"),
        seed=check_seed(seed if own_seed is None else own_seed, f"{where}: seed"),
        steps=None if steps is None else check_steps(steps, f"{where}: steps"),
        output=Path(output) if output else None,
    )


def _whole(value: object, where: str) -> int | None:
    try:
        return None if value is None else int(str(value))
    except ValueError:
        raise UserError(f"{where}: got {value!r:.60}, expected a whole number") from None
