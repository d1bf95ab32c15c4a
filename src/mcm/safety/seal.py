"""A digest at the end of an mp4, over every byte before it.

C2PA's hash of an mp4 leaves out the boxes ``ftyp`` and ``free`` and the padding of the manifest
itself, so a changed byte there goes unseen. A last box ``free``, which players skip and C2PA
leaves out too, holds SHA-256 of all that stands before it. It carries no key: it shows that a
byte changed, and the signature shows who vouches for the content.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

_TAG = b"mcm seal sha256\0"
_LENGTH = 8 + len(_TAG) + hashlib.sha256().digest_size


def seal(path: Path) -> None:
    """Append the digest of a file to it."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", _LENGTH, b"free") + _TAG + digest)


def seal_state(path: Path) -> bool | None:
    """Return whether a file is as it was sealed; ``None`` if it bears no seal."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _LENGTH))
        box = file.read(_LENGTH)
    if len(box) < _LENGTH or box[8:-32] != _TAG:
        return None
    whole = box[:8] == struct.pack(">I4s", _LENGTH, b"free")
    return whole and box[-32:] == _digest(path, size - _LENGTH)


def _digest(path: Path, length: int) -> bytes:
    """Return SHA-256 of a file's first ``length`` bytes, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (piece := file.read(min(length, 1 << 20))):
            digest.update(piece)
            length -= len(piece)
    return digest.digest()
