"""The folder that a server works in: one server at a time, its jobs, and their clips."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from mcm.errors import UserError
from mcm.serving.clips import ClipFolder
from mcm.serving.store import JobStore

_JOBS, _CLIPS = "jobs.sqlite", "clips"


class Room:
    """A server's folder, taken until it is closed.

    Attributes:
        store: The jobs.
        clips: Their clips.
    """

    def __init__(self, folder: Path) -> None:
        """Take a folder; it is made if it is not there.

        Raises:
            UserError: It is a file, another server works in it, it holds clips of which no jobs
                are known, or its jobs cannot be read.
        """
        _check_known(folder)
        _make(folder)
        self._lock = FileLock(folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"output: {folder}: another server works in this folder; choose another one"
            ) from None
        try:
            _make(folder / _CLIPS)
            self.store = JobStore(folder / _JOBS)
            self.clips = ClipFolder(folder / _CLIPS)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Leave the folder to the next server."""
        self.store.close()
        self._lock.release()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"output: {folder}: a file is in the way; give a folder of jobs and clips"
        ) from None


def _check_known(folder: Path) -> None:
    """Check that nobody else's files are among the clips, nor clips of which nothing is known."""
    clips, jobs = folder / _CLIPS, folder / _JOBS
    found = min(clips.iterdir(), default=None) if clips.is_dir() else None
    if found is not None and not jobs.exists():
        raise UserError(
            f"output: {clips} holds {found.name!r}, but no {jobs} tells what it is; choose another "
            f"folder, or, if a server made these clips, put its {_JOBS} back or move them away"
        )
