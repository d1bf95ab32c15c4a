"""One honest report on a file: its manifest, its mark, and what detectors say."""

from __future__ import annotations

import stat
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
        UserError: There is no such file, or it cannot be read. What cannot be understood is no
            error: nothing is found.
    """
    file = existing(path)
    manifest = inspect_manifest(file, active_policy().provenance)
    return Report(str(path), manifest, look(file))


def existing(path: str | Path) -> Path:
    """Return the path of a file that is there and can be read.

    Raises:
        UserError: It is not, or cannot.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path}: a folder; name its files")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: no regular file, but a pipe, a socket or a device; copy it")
        file.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); change its permissions, or copy it"
        ) from None
    return file


def look(file: Path) -> Footage:
    """Return what the frames of a file say."""
    seen = windows(file)
    if not seen:
        return Footage()
    mark, span = _search(seen)
    return Footage(
        frames=sum(len(window.frames) for window in seen),
        size=(seen[0].frames.shape[2], seen[0].frames.shape[1]),
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
