"""Runs: what observers saw of a model's clips, one JSONL file that can be broken off and continued.

The first line, the header, says whose clips they are; each other line is one clip. Parts of a run
that ran apart lie in files of their own and are read together, if their headers agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Request
from mcm.evaluation.metric import Observations, Observer
from mcm.evaluation.refused import RefusedRate
from mcm.safety.guard import Refused

Row = dict[str, Any]
"""One clip: key, prompt, seed, and under ``seen`` what each observer saw."""

Header = Mapping[str, Any]
"""What identifies a run: model, settings, protocol, judges; JSON-ready."""

RESOLVED = "resolved"
"""The header's fact of settings, number format and device as the model resolved them."""

Make = Callable[[Request], EvaluationClip]
"""Generates the clip of a request."""

OnClip = Callable[[int, int], None]
"""Called with the number of clips done and of all clips."""


def observe_all(
    make: Make,
    requests: Sequence[Request],
    observers: Sequence[Observer],
    path: Path,
    header: Header,
    on_clip: OnClip | None = None,
    beside: Iterable[Path] = (),
) -> list[Row]:
    """Generate and observe clips one by one, or go on where a broken run stood.

    A clip that the check of its frames refuses has a line too, which counts as refused.

    Args:
        make: Gives the clip of a request.
        requests: What to make.
        observers: What is to see each clip.
        path: JSONL file of the run.
        header: Whose clips these are; a file with another header is refused.
        on_clip: Called after each clip.
        beside: Other files of the same run, whose clips are not made again.

    Returns:
        The rows in the order of the requests.

    Raises:
        UserError: A file holds other clips.
        Refused: A prompt is refused, or clips could not be checked.
    """
    done = {row["key"]: row for row in read_rows(beside, header)} | _resume(path, header)
    for number, request in enumerate(requests, 1):
        if request.key not in done:
            done[request.key] = _row(make, request, observers)
            _append(path, done[request.key])
        if on_clip:
            on_clip(number, len(requests))
    return [done[request.key] for request in requests]


def row_of(clip: EvaluationClip, seed: int, observers: Sequence[Observer]) -> Row:
    """Return what the observers saw of a clip."""
    seen = {observer.name: observer.observe(clip) for observer in observers}
    return {"key": clip.key, "prompt": clip.prompt, "seed": seed, "seen": seen}


def _row(make: Make, request: Request, observers: Sequence[Observer]) -> Row:
    try:
        clip = make(request)
    except Refused as error:
        if not error.of_frames:
            raise
        seen = {RefusedRate.name: {"value": 1.0}}
        return {"key": request.key, "prompt": request.prompt, "seed": request.seed, "seen": seen}
    return row_of(clip, request.seed, observers)


def read_rows(paths: Iterable[Path], header: Header | None = None) -> list[Row]:
    """Return the clips of a run's files together, in the order of their keys.

    Args:
        paths: JSONL files; what a crash has torn off is left out.
        header: What each file's header must hold, besides being equal to the first one's.

    Raises:
        UserError: A file holds clips of another run.
    """
    rows: dict[str, Row] = {}
    expected = dict(header or {})
    for path in paths:
        found, some = _read(path)
        if found:
            _check(path, found, expected)
            expected = found | expected | {k: found[k] for k in (RESOLVED,) if k in found}
            rows |= some
    return [rows[key] for key in sorted(rows)]


def header_of(paths: Iterable[Path]) -> dict[str, Any]:
    """Return the header of a run's first file that has one; empty where none has.

    Raises:
        UserError: It is broken.
    """
    for path in paths:
        with path.open("rb") as file:
            line = file.readline()
        if line.endswith(b"\n"):
            return _line(line, f"{path}: line 1", "the file, and its clips are")
    return {}


def observations(rows: Sequence[Row], observer: str) -> Observations:
    """Return what one observer saw, by the key of the clip; of refused clips only that they are.

    Raises:
        UserError: It did not see one of the clips.
    """
    if observer != RefusedRate.name:
        rows = [row for row in rows if list(row["seen"]) != [RefusedRate.name]]
    missing = [row["key"] for row in rows if observer not in row["seen"]]
    if missing:
        raise UserError(f"clip {missing[0]}: {observer!r} has not seen it; judge it in a new file")
    return {row["key"]: row["seen"][observer] for row in rows}


def _append(path: Path, row: Row) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _resume(path: Path, header: Header) -> dict[str, Row]:
    """Return the clips of a file by key; begins the file, or drops a torn last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        path.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return {}
    if whole != content:
        path.write_bytes(whole)
    found, rows = _read(path)
    _check(path, found, {**dict.fromkeys(found), **header})
    return rows


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Row]]:
    """Return header and clips of a file; of one that was never begun, nothing."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    if not whole:
        return {}, {}
    header = _line(whole[0], f"{path}: line 1", "the file, and its clips are")
    rows = [
        _line(line, f"{path}: line {number}", "that line, and its clip is", ("key", "seen"))
        for number, line in enumerate(whole[1:], 2)
    ]
    return header, {row["key"]: row for row in rows}


def _line(content: bytes, where: str, remove: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict) or any(key not in value for key in keys):
        raise UserError(f"{where} is broken; remove {remove} made again")
    return value


def _check(path: Path, found: Header, expected: Header) -> None:
    differing = [name for name in expected if _differs(name, found, expected)]
    if differing:
        facts = "; ".join(
            f"{name}: {found.get(name)!r} there, {expected[name]!r} here" for name in differing
        )
        raise UserError(
            f"{path}: holds clips of another run ({facts}); give another output folder, or remove "
            "the file"
        )


def _differs(name: str, found: Header, expected: Header) -> bool:
    """Return whether a fact differs; of resolved settings only those that are expected count."""
    there, here = found.get(name), _as_read(expected[name])
    if name == RESOLVED and isinstance(there, dict) and isinstance(here, dict):
        return any(there.get(key) != value for key, value in here.items())
    return bool(there != here)


def _as_read(value: Any) -> Any:
    """Return a value as JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(value))
