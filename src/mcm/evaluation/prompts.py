"""Prompt lists of the field: WebVid's CSV, MSR-VTT's and VBench's JSON, or plain lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mcm.checks import check_text, is_blank
from mcm.errors import UserError

_CAPTION_COLUMNS = ("caption", "name", "prompt", "text")


def read_prompts(path: Path, count: int | None = None) -> list[str]:
    """Read the prompts of a list, in its order, each once.

    Args:
        path: ``.csv`` with a column caption or name (WebVid), or prompt or text; ``.json`` of
            MSR-VTT (``sentences`` with ``video_id`` and ``caption``; the first caption of every
            video), of VBench (rows with ``prompt_en``), or a list of texts; ``.txt`` with one
            prompt a line.
        count: How many of them; all by default.

    Raises:
        UserError: The file is missing, of another layout, or holds fewer; or one of them holds
            control characters or broken Unicode.
    """
    readers: dict[str, Callable[[Path, str], Iterator[str]]] = {
        ".csv": _of_csv,
        ".json": _of_json,
        ".txt": _of_lines,
    }
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: expected a list of prompts that ends in {', '.join(readers)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list of prompts: {error}") from None
    entries = readers[path.suffix.lower()](path, text)
    prompts = list(dict.fromkeys(_showing(entries, path)))
    if len(prompts) < (count or 1):
        raise UserError(f"{path}: holds {len(prompts)} prompts, expected at least {count or 1}")
    return prompts[:count]


def _showing(entries: Iterator[str], path: Path) -> Iterator[str]:
    """Yield the prompts that show something, without surrounding space."""
    for number, entry in enumerate(entries, 1):
        prompt = check_text(entry, f"{path}: prompt {number}").strip()
        if not is_blank(prompt):
            yield prompt


def _of_csv(path: Path, text: str) -> Iterator[str]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    column = next((name for name in _CAPTION_COLUMNS if name in (rows.fieldnames or ())), None)
    if column is None:
        raise UserError(
            f"{path}: has the columns {rows.fieldnames}, expected one of "
            f"{', '.join(_CAPTION_COLUMNS)}"
        )
    try:
        return iter([row[column] or "" for row in rows])
    except csv.Error as error:
        raise UserError(f"{path}: after line {rows.line_num}: not valid CSV: {error}") from None


def _of_json(path: Path, text: str) -> Iterator[str]:
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if isinstance(value, dict) and isinstance(value.get("sentences"), list):
        first: dict[str, str] = {}
        for number, sentence in enumerate(value["sentences"]):
            first.setdefault(*_captioned(sentence, f"{path}: sentences.{number}"))
        return iter(first.values())
    rows = value if isinstance(value, list) else [value]
    return (_text_of(row, path) for row in rows)


def _captioned(sentence: Any, where: str) -> tuple[str, str]:
    """Return video and caption of one of MSR-VTT's sentences."""
    named = sentence if isinstance(sentence, dict) else {}
    video, caption = named.get("video_id"), named.get("caption")
    if not isinstance(video, str | int) or not isinstance(caption, str):
        raise UserError(
            f"{where}: got {str(sentence)[:60]!r}, expected an object with video_id and caption"
        )
    return str(video), caption


def _text_of(row: Any, path: Path) -> str:
    text = row.get("prompt_en") if isinstance(row, dict) else row
    if not isinstance(text, str):
        raise UserError(
            f"{path}: got {str(row)[:60]!r}, expected MSR-VTT's sentences, VBench's rows with "
            "prompt_en, or a list of texts"
        )
    return text


def _of_lines(path: Path, text: str) -> Iterator[str]:
    return iter(text.split("\n"))
