"""API keys: who may use the server, told apart by hashes only."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from mcm.errors import UserError

ANYONE = ""
_OWNER_LENGTH = 16


@dataclass(frozen=True)
class Keys:
    """The keys of a server.

    Attributes:
        digests: SHA-256 of every key; none if the server asks for no key.
    """

    digests: tuple[bytes, ...] = ()

    def owner(self, authorization: str) -> str | None:
        """Return whose request it is.

        Args:
            authorization: The header of that name: `Bearer KEY`, or, as browsers ask for it,
                `Basic` with the key as password and any name; decoded as Latin-1, as headers are.

        Returns:
            Start of the key's hash; `ANYONE` if the server has no keys; `None` for a wrong key.
        """
        if not self.digests:
            return ANYONE
        digest = hashlib.sha256(_key(authorization)).digest()
        matches = [hmac.compare_digest(digest, known) for known in self.digests]
        return digest.hex()[:_OWNER_LENGTH] if any(matches) else None


def read_keys(file: Path) -> Keys:
    """Read a file of keys, one a line: the key, or `sha256:` and the hexadecimal hash of it.

    Raises:
        UserError: The file cannot be read, holds no key, or a hash is malformed.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot read the keys: {error}") from None
    words = [word for line in lines if (word := line.strip()) and not word.startswith("#")]
    if not words:
        raise UserError(f"{file}: holds no key; write one per line")
    return Keys(tuple(_digest(word, file) for word in words))


def _digest(word: str, file: Path) -> bytes:
    if not word.startswith("sha256:"):
        return hashlib.sha256(word.encode()).digest()
    try:
        digest = bytes.fromhex(word.removeprefix("sha256:"))
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise UserError(f"{file}: {word!r}: expected sha256: and 64 hexadecimal digits")
    return digest


def _key(authorization: str) -> bytes:
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return _as_utf8(value.strip().encode("latin-1", "replace"))
    if scheme.lower() == "basic":
        try:
            return _as_utf8(base64.b64decode(value, validate=True).partition(b":")[2])
        except (binascii.Error, ValueError):
            return b""
    return b""


def _as_utf8(key: bytes) -> bytes:
    """Return a key in UTF-8, as the file of keys is; clients send it so or as Latin-1."""
    try:
        return key.decode().encode()
    except UnicodeDecodeError:
        return key.decode("latin-1").encode()
