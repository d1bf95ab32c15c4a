"""One honest report on a file: its manifest, its mark, and what detectors say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcm.errors import UserError
from mcm.safety.detector import detect
from mcm.safety.footage import Window, windows
from mcm.safety.inspection import inspect_manifest
from mcm.safety.policy import active_policy
from mcm.safety.report import Footage, Report, Span
from mcm.safety.search import Mark, find


def verify(path: str | Path) -> Report:
    """Look at a file of any kind.

    The work is done in this process; for files of strangers, `mcm.safety.examiner` bounds the time
    and memory of the native readers too.

    Raises:
        UserError: There is no such file. What cannot be understood is no error: nothing is found.
    """
    file = existing(path)
    manifest = inspect_manifest(file, active_policy().provenance)
    return Report(str(path), manifest, look(file))


def existing(path: str | Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        UserError: It is not.
    """
    file = Path(path)
    if not file.is_file():
        kind = "a folder; name its files" if file.is_dir() else "no such file"
        raise UserError(f"{path}: {kind}")
    return file


def look(file: Path) -> Footage:
    """Return what the frames of a file say."""
    seen = windows(file)
    if not seen:
        return Footage()
    mark, span = _search(seen)
    return Footage(
        frames=sum(len(window.frames) for window in seen),
        spans=tuple(window.span for window in seen),
        mark=mark,
        marked=span,
        detections=detect(seen[0].frames, active_policy().detection),
    )


def _search(seen: Sequence[Window]) -> tuple[Mark | None, Span | None]:
    """Return the first mark and where it stands."""
    for window in seen:
        mark = find(window.frames)
        if mark is not None:
            return mark, window.span
    return None, None
