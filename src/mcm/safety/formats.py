"""Media types by a file's first bytes, and where its manifest goes."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

WEBM = "video/webm"
UNKNOWN = "application/octet-stream"
_TIFF, _JXL, _SVG = "image/tiff", "image/jxl", "image/svg+xml"
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
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"II*\0", _TIFF),
    (0, b"MM\0*", _TIFF),
    (4, b"JXL \r\n\x87\n", _JXL),
    (0, b"%PDF", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"OTTO", "font/otf"),
    (0, b"\0\1\0\0\0", "font/ttf"),
    (0, b"<svg", _SVG),
    (0, b"<?xml", _SVG),
)
_EMBEDDABLE = (
    *("image/png", "image/jpeg", "image/gif", "image/webp"),
    *("video/mp4", "video/quicktime", "video/avi"),
)
HEAD = 16
"""Bytes that tell a type."""
OPAQUE = "application/zip"
"""c2pa has no handler for WebM; under this type it hashes a file whole, whatever it holds."""


def media_type(head: bytes) -> str:
    """Return the media type of a file by its first `HEAD` bytes; a general one if unknown."""
    for start, magic, kind in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return kind
    return UNKNOWN


def holds_manifest(kind: str) -> bool:
    """Whether a manifest goes into files of a media type, not beside them."""
    return kind in _EMBEDDABLE


def sidecar_of(path: Path) -> Path:
    """Return the file beside ``path`` that holds its manifest: ``clip.webm.c2pa``."""
    return path.parent / (path.name + _SIDECAR_ENDING)


def read_sidecar(path: Path) -> bytes | None:
    """Return the manifest beside a file; ``None`` if there is none.

    Raises:
        OSError: What stands there cannot be read: it is no file, too large, or not permitted.
    """
    beside = sidecar_of(path)
    try:
        status = beside.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no file", str(beside))
    if status.st_size > _MOST_SIDECAR:
        raise OSError(errno.EFBIG, f"it is larger than {_MOST_SIDECAR >> 20} MB", str(beside))
    return beside.read_bytes()
