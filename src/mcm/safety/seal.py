"""A digest of a whole file, since C2PA's own hashes leave some bytes out.

C2PA leaves out the boxes ``ftyp`` and ``free`` of an mp4, the head and checksum of the chunk that
holds a picture's manifest, and of every manifest the padding and the heads of its boxes. The seal
is SHA-256 of all bytes, those too. It carries no key: it shows that a byte changed, and the
signature shows who vouches for the content.

An mp4 bears it in a last box ``free``, which players skip. Nothing may follow the end of a picture,
whose length is signed; there, and in a manifest beside a file, the seal takes some of the padding
of the signature's unprotected header, under a label of its own, which readers skip. Its own 32
bytes count as zeros then, and so does the checksum of a PNG's chunk.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from mcm.errors import UserError

ALGORITHM = "sha256"
"""What a manifest of ours promises: a file without an intact seal was changed."""
BOXED = ("video/mp4", "video/quicktime")
"""Media types whose seal is their last box; for all others it is in the manifest."""

_DIGEST = hashlib.sha256().digest_size
_TAG = b"mcm seal sha256\0"
_LENGTH = 8 + len(_TAG) + _DIGEST
_STORE = re.compile(rb"....jumb\0\0..jumdc2pa", re.DOTALL)
"""Where a manifest begins; what a file says in words bears no zeros."""
_SIGNATURE = b"cbor\xd2\x84\x59"
"""Box, tag, array and first length of a COSE signature, whose certificates need two bytes of it."""
_PAD = b"\x63pad\x59"
_ENTRY = b"\x68mcm.seal\x58\x20"
_SUB_BLOCK = 255
"""Bytes after which a GIF tells the length of the next ones."""


def seal(path: Path, kind: str) -> None:
    """Seal a file that bears its manifest.

    Raises:
        UserError: The manifest has no room.
    """
    if kind not in BOXED:
        path.write_bytes(sealed(path.read_bytes(), kind))
        return
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", _LENGTH, b"free") + _TAG + digest)


def is_sealed(path: Path, kind: str) -> bool:
    """Whether a file bears a seal and is as it was sealed."""
    if kind not in BOXED:
        return seal_fits(path.read_bytes(), kind)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _LENGTH))
        box = file.read(_LENGTH)
    whole = box[:-_DIGEST] == struct.pack(">I4s", _LENGTH, b"free") + _TAG
    return whole and box[-_DIGEST:] == _digest(path, size - _LENGTH)


def sealed(content: bytes, kind: str) -> bytes:
    """Return a picture, or a manifest that goes beside a file, with the seal in its manifest.

    Raises:
        UserError: There is no room.
    """
    store = _find(content, kind)
    start = _header(store.data)
    pad = store.data.find(_PAD, start)
    after = pad + len(_PAD) + 2
    room = int.from_bytes(store.data[after - 2 : after]) - len(_ENTRY) - _DIGEST
    if min(start, pad, room) < 0:
        raise UserError(
            "provenance: the manifest has no room for its seal; expected a shorter signature: use "
            "an ECDSA or Ed25519 key, or RSA of at most 4096 bits"
        )
    entries = store.data[start] + 1
    kept = store.data[start + 1 : pad] + _PAD + room.to_bytes(2) + bytes(room)
    changed = bytearray(content)
    store.write(changed, start, bytes([entries]) + _ENTRY + bytes(_DIGEST) + kept)
    place = start + 1 + len(_ENTRY)
    store.write(changed, place, _blank_digest(changed, store, place))
    if kind == "image/png":
        changed[store.checksum] = _checksum(changed, store)
    return bytes(changed)


def seal_fits(content: bytes, kind: str) -> bool:
    """Whether a picture or a manifest bears a seal and is as it was sealed."""
    store = _find(content, kind)
    start = _header(store.data)
    place = start + 1 + len(_ENTRY)
    if start < 0 or store.data[start + 1 : place] != _ENTRY:
        return False
    if kind == "image/png" and content[store.checksum] != _checksum(content, store):
        return False
    return store.data[place : place + _DIGEST] == _blank_digest(content, store, place)


class _Store(NamedTuple):
    """A manifest inside a file."""

    kind: str
    start: int
    data: bytes

    def write(self, content: bytearray, place: int, new: bytes) -> None:
        """Write bytes of the manifest from ``place`` on to where the file holds them."""
        for number, value in enumerate(new, place):
            skipped = number // _SUB_BLOCK if self.kind == "image/gif" else 0
            content[self.start + skipped + number] = value

    @property
    def checksum(self) -> slice:
        """Where the checksum of the PNG's chunk stands."""
        end = self.start + len(self.data)
        return slice(end, end + 4)


def _find(content: bytes, kind: str) -> _Store:
    """Return the manifest of a file, or one that is empty."""
    found = _STORE.search(content)
    if found is None:
        return _Store(kind, 0, b"")
    start = found.start()
    length = int.from_bytes(content[start : start + 4])
    if kind != "image/gif":
        return _Store(kind, start, content[start : start + length])
    count = min(length, len(content)) // _SUB_BLOCK + 1
    blocks = (start + number * (_SUB_BLOCK + 1) for number in range(count))
    data = b"".join(content[block : block + _SUB_BLOCK] for block in blocks)
    return _Store(kind, start, data[:length])


def _header(manifest: bytes) -> int:
    """Return where the unprotected header of the last signature begins; below 0 if nowhere."""
    found = manifest.rfind(_SIGNATURE)
    after = found + len(_SIGNATURE) + 2
    start = after + int.from_bytes(manifest[after - 2 : after])
    return start if found >= 0 and start < len(manifest) else -1


def _blank_digest(content: bytes | bytearray, store: _Store, place: int) -> bytes:
    """Return SHA-256 of a file in which the digest at ``place`` and the checksum are zeros."""
    blank = bytearray(content)
    store.write(blank, place, bytes(_DIGEST))
    if store.kind == "image/png":
        blank[store.checksum] = bytes(4)
    return hashlib.sha256(blank).digest()


def _checksum(content: bytes | bytearray, store: _Store) -> bytes:
    """Return the checksum of the PNG chunk that holds a manifest: of its name and content."""
    end = store.checksum.start
    return zlib.crc32(content[store.start - 4 : end]).to_bytes(4)


def _digest(path: Path, length: int) -> bytes:
    """Return SHA-256 of a file's first ``length`` bytes, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (piece := file.read(min(length, 1 << 20))):
            digest.update(piece)
            length -= len(piece)
    return digest.digest()
