"""The folder of what belongs to this machine's user: certificate, keys, audit log, policy."""

from __future__ import annotations

import os
import secrets
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
        UserError: The folder for them cannot be made.
    """
    path = made_home() / f"{name}.key"
    if not path.is_file():
        partial = path.with_suffix(f".{secrets.token_hex(8)}")
        write_private(partial, secrets.token_bytes(length))
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return path.read_bytes()
