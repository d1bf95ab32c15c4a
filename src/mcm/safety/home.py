"""The folder of what belongs to this machine's user: certificate, keys, audit log, policy."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from mcm.errors import UserError

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


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


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read from its first byte on.

    Raises:
        FileExistsError: There is one already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def secret(name: str, length: int = 32) -> bytes:
    """Return random bytes that stay the same for this user, made at first use.

    Raises:
        UserError: They cannot be made or read, or other users can read them.
    """
    path = made_home() / f"{name}.key"
    try:
        if not path.exists():
            _make_secret(path, length)
        return read_private(path)
    except OSError as error:
        raise UserError(
            f"{path}: a key of mcm cannot be made or read here ({error.strerror}); mend the "
            "folder's permissions, or set MCM_HOME to a folder that you can write"
        ) from None


def _make_secret(path: Path, length: int) -> None:
    """Write random bytes; of two processes at once the first one's stand."""
    partial = path.with_suffix(f".{secrets.token_hex(8)}")
    write_private(partial, secrets.token_bytes(length))
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def read_private(path: Path) -> bytes:
    """Return the content of a file that nobody but its owner may read or write.

    Raises:
        UserError: Others may.
        OSError: It cannot be read.
    """
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UserError(
            f"{path}: other users can read or change this key; run `chmod 600` on it, and take a "
            "new key if somebody may have read it"
        )
    return path.read_bytes()
