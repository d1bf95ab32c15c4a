"""Read images with Pillow into RGB pixels, whatever they were stored as."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mcm.data.resize import CENTRE, Pixels, fit, over_white
from mcm.data.samples import SampleError

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(
    source: bytes | Path,
    *,
    size: tuple[int, int] | None = None,
    anchor: tuple[float, float] = CENTRE,
    file: str | None = None,
) -> Pixels:
    """Read an image the way a viewer shows it.

    EXIF orientation is applied, transparency is laid over white, greyscale, palette, CMYK and
    16-bit images become RGB; of an animation the first frame is taken.

    Args:
        source: Content of a file, or its path.
        size: (height, width) to crop and resize to; `None` keeps the image's own.
        anchor: Place of the crop, see `mcm.data.resize.crop_box`.
        file: Name for messages; the path when not given.

    Returns:
        uint8 (h w 3).

    Raises:
        SampleError: missing, unreadable, zero-length or corrupt.
    """
    file = file or (str(source) if isinstance(source, Path) else "image")
    pixels = _decode(_content(source, file), file)
    return fit(pixels, size, anchor) if size else pixels


def _content(source: bytes | Path, file: str) -> bytes:
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except FileNotFoundError:
        raise SampleError(file, "missing", "no such file") from None
    except OSError as error:
        raise SampleError(file, "unreadable", error.strerror or str(error)) from None
    if not content:
        raise SampleError(file, "zero-length", "the file is empty")
    return content


def _decode(content: bytes, file: str) -> Pixels:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise SampleError(file, "corrupt", "not an image of a known format") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError(file, "corrupt", str(error)) from None


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode in _SIXTEEN_BIT_MODES:
        grey = np.clip(np.rint(np.asarray(image).astype(np.float64) / 257), 0, 255)
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if image.has_transparency_data:
        return over_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))
