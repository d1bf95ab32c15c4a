"""Where a clip goes: what its format writes there, whether it may, and the move to the place."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcm.errors import UserError
from mcm.safety.formats import sidecar_of

_FRAME = re.compile(r"\d{4,}\.png")
_LONGEST_NAME = 230
"""Bytes of a file's name: file systems hold 255, and a half written file's is longer than its."""


def outputs_of(path: Path, format: str) -> list[Path]:
    """Return every file or folder that a format writes for a path."""
    beside = {"sheet": [path.with_suffix(".json")], "webm": [sidecar_of(path)]}
    return [path, *beside.get(format, [])]


def check_free(path: Path, format: str, overwrite: bool) -> None:
    """Check that a clip can be written to a path, and that nothing is lost by it.

    Raises:
        UserError: Something stands there and ``overwrite`` is off; it is a folder in a file's
            place, or one that holds more than frames; a folder above is a file; or the name is
            too long.
    """
    check_name(path)
    for output in outputs_of(path, format):
        if not output.exists():
            continue
        if not overwrite:
            raise UserError(f"{output}: exists already; choose another name or allow overwriting")
        if output.is_dir() != (format == "frames"):
            raise UserError(f"{output}: a {'folder' if output.is_dir() else 'file'} is in the way")
        if output.is_dir():
            _check_only_frames(output)


def is_whole(path: Path, format: str) -> bool:
    """Whether a clip of a format stands at a path with everything that belongs to it."""
    if format == "frames":
        return path.is_dir() and any(path.iterdir()) and _foreign_in(path) is None
    needed = outputs_of(path, format) if format == "sheet" else [path]
    return all(output.is_file() for output in needed)


def check_name(path: Path) -> None:
    """Check that something can be written to a path at all.

    Raises:
        UserError: It names nothing, its name is too long, or a folder above is a file.
    """
    if path.name in ("", ".."):
        raise UserError(f"{path}: is no name for a clip; give that of a file, or of a new folder")
    length = len(os.fsencode(path.name))
    if length > _LONGEST_NAME:
        raise UserError(
            f"{path}: its name has {length} bytes, expected {_LONGEST_NAME} or fewer; choose a "
            "shorter one"
        )
    above = next((folder for folder in path.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise UserError(f"{path}: {above} is a file, not a folder; choose another place")


def _check_only_frames(folder: Path) -> None:
    foreign = _foreign_in(folder)
    if foreign is not None:
        raise UserError(
            f"{folder}: holds {foreign.name!r}, and only a folder of nothing but frames "
            "(0000.png and on) is overwritten; choose another folder"
        )


def _foreign_in(folder: Path) -> Path | None:
    """Return the first entry of a folder that is no frame; ``None`` if all are."""
    return next(
        (
            entry
            for entry in sorted(folder.iterdir())
            if not _FRAME.fullmatch(entry.name) or not entry.is_file()
        ),
        None,
    )


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a hidden path beside ``target`` that takes its place when the block ends well."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield partial
        _move(partial, target)
    except BaseException as error:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
        raise


def _move(partial: Path, target: Path) -> None:
    """Rename; a folder of frames that stands at ``target`` steps aside first and then goes."""
    if not target.is_dir():
        partial.replace(target)
        return
    _check_only_frames(target)
    aside = partial.with_suffix(".old")
    target.rename(aside)
    try:
        partial.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside)
