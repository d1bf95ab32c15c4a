"""Media types by a file's first bytes, and where its manifest goes."""

from __future__ import annotations

from pathlib import Path

WEBM = "video/webm"
_UNKNOWN = "application/octet-stream"
SIDECAR_TYPE = "application/c2pa"
_SIDECAR_ENDING = ".c2pa"
_MOST_SIDECAR = 64 << 20
_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"AVI ", "video/avi"),
    (0, b"\x1a\x45\xdf\xa3", WEBM),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
)
_EMBEDDABLE = ("image/", "video/mp4", "video/quicktime", "video/avi")
HEAD = 16
"""Bytes that tell a type."""


def media_type(head: bytes) -> str:
    """Return the media type of a file by its first `HEAD` bytes; a general one if unknown."""
    for start, magic, kind in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return kind
    return _UNKNOWN


def holds_manifest(kind: str) -> bool:
    """Whether a manifest goes into files of a media type, not beside them."""
    return kind.startswith(_EMBEDDABLE)


def sidecar_of(path: Path) -> Path:
    """Return the file beside ``path`` that holds its manifest: ``clip.webm.c2pa``."""
    return path.parent / (path.name + _SIDECAR_ENDING)


def read_sidecar(path: Path) -> bytes | None:
    """Return the manifest beside a file; ``None`` if there is none or it is too large."""
    beside = sidecar_of(path)
    if not beside.is_file() or beside.stat().st_size > _MOST_SIDECAR:
        return None
    return beside.read_bytes()
