"""The folder of what belongs to this machine's user: certificate, keys, audit log, policy."""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from mcm.errors import UserError

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_SECRET_BYTES = 32
_LOOKS, _PAUSE = 100, 0.01
"""How often, and after how many seconds, a key that another process is writing is read again."""


def home() -> Path:
    """Return the folder, which may not be there yet: ``MCM_HOME``, or else ``~/.mcm``."""
    return Path(os.environ.get("MCM_HOME") or "~/.mcm").expanduser()


def made_home() -> Path:
    """Return the folder, made if it is not there, for what is to be written.

    Raises:
        UserError: It cannot be made.
    """
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
    except OSError as error:
        raise UserError(
            f"MCM_HOME: the folder {folder} cannot be made ({error.strerror}); keys and the audit "
            "log go there: set MCM_HOME to a folder that you can write"
        ) from None
    return folder


def unusable(path: Path, what: str, error: OSError) -> UserError:
    """Return what to tell where the system lets nobody make, read or write what belongs there."""
    return UserError(
        f"{what}: {path} cannot be made, read or written ({error.strerror}); free some space, mend "
        "its permissions, or set MCM_HOME to a folder that you can write"
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read from its first byte on.

    Raises:
        FileExistsError: There is one already.
        OSError: It cannot be written; nothing half is left.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def secret(name: str) -> bytes:
    """Return random bytes that stay the same for this user, made at first use.

    Of two processes at once the first one's stand.

    Raises:
        UserError: They cannot be made or read, some are missing, or other users can reach them.
    """
    path = made_home() / f"{name}.key"
    try:
        if not path.exists():
            with suppress(FileExistsError):
                write_private(path, secrets.token_bytes(_SECRET_BYTES))
        return _read_secret(path)
    except OSError as error:
        raise unusable(path, "key", error) from None


def _read_secret(path: Path) -> bytes:
    """Return a whole secret, which another process may be about to write."""
    for _ in range(_LOOKS):
        content = read_private(path)
        if len(content) >= _SECRET_BYTES:
            return content
        time.sleep(_PAUSE)
    raise UserError(
        f"key: {path} is damaged: got {len(content)} bytes, expected {_SECRET_BYTES}; move it "
        "away: a new one is made then, and ids and digests under the old one cannot be made again"
    )


def read_private(path: Path) -> bytes:
    """Return the content of a file that nobody but its owner may read or write.

    Raises:
        UserError: Others may.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise UserError(
                f"{path}: other users can read or change this key; run `chmod 600` on it, and take "
                "a new key if somebody may have read it"
            )
        return file.read()
