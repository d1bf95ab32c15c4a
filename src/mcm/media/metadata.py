"""What a file says of how it was made: one JSON object, where each format has room for text.

mp4 and webm: the container's comment tag; gif: the comment block; webp: EXIF ImageDescription;
png: the tEXt chunk ``mcm``; a folder of frames: that of its first frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from mcm.errors import UserError

KEY = "mcm"
_IMAGE_DESCRIPTION = 0x010E


def to_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as ASCII JSON, which every format can hold."""
    return json.dumps(metadata, ensure_ascii=True)


def png_info(text: str) -> PngImagePlugin.PngInfo:
    """Return text as a PNG's tEXt chunk."""
    info = PngImagePlugin.PngInfo()
    info.add_text(KEY, text)
    return info


def exif(text: str) -> Image.Exif:
    """Return text as EXIF ImageDescription."""
    block = Image.Exif()
    block[_IMAGE_DESCRIPTION] = text
    return block


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read what a file written by mcm says of how it was made.

    Args:
        path: A video or image file, or a folder of frames.

    Returns:
        Prompt, seed, model, settings; empty if the file says nothing.

    Raises:
        UserError: There is no such file, or it is neither video nor image.
    """
    file = Path(path)
    if file.is_dir():
        file = next(iter(sorted(file.glob("*.png"))), file)
    if not file.is_file():
        raise UserError(f"{path}: no such video, image or folder of frames")
    text = _container_comment(file) if file.suffix in (".mp4", ".webm") else _image_comment(file)
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _container_comment(file: Path) -> str:
    import av

    try:
        with av.open(str(file)) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
    except av.FFmpegError as error:
        raise UserError(f"{file}: not a readable video ({error.strerror})") from None
    return tags.get("comment", "")


def _image_comment(file: Path) -> str:
    try:
        with Image.open(file) as image:
            comment = image.info.get(KEY) or image.info.get("comment")
            comment = comment or image.getexif().get(_IMAGE_DESCRIPTION, "")
    except UnidentifiedImageError:
        raise UserError(f"{file}: neither video nor image") from None
    return comment.decode("ascii", "replace") if isinstance(comment, bytes) else str(comment)
