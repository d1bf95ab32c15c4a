"""Read images with Pillow into RGB pixels, whatever they were stored as."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mcm.data.grey import Window, through_window
from mcm.data.resize import CENTRE, Pixels, fit, over_white
from mcm.data.samples import SampleError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Endings of the files that are taken for pictures where a video could stand as well."""
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_SINGLE_CHANNEL_MODES = (*_SIXTEEN_BIT_MODES, "L", "F", "1")


def read_image(
    source: bytes | Path,
    *,
    size: tuple[int, int] | None = None,
    anchor: tuple[float, float] = CENTRE,
    window: Window | None = None,
    file: str | None = None,
) -> Pixels:
    """Read an image the way a viewer shows it.

    EXIF orientation is applied, transparency is laid over white, greyscale, palette, CMYK and
    16-bit images become RGB; of an animation the first frame is taken.

    Args:
        source: Content of a file, or its path.
        size: (height, width) to crop and resize to; `None` keeps the image's own.
        anchor: Place of the crop, see `mcm.data.resize.crop_box`.
        window: Of a single-channel image, the stored values that become black and white; `None`
            takes all that its bit depth can hold, and colour as it is.
        file: Name for messages; the path when not given.

    Returns:
        uint8 (h w 3).

    Raises:
        SampleError: missing, unreadable, zero-length, corrupt or, with a window, not
            single-channel.
    """
    file = file or (str(source) if isinstance(source, Path) else "image")
    pixels = _decode(_content(source, file), window, file)
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


def _decode(content: bytes, window: Window | None, file: str) -> Pixels:
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright) if window is None else _windowed(upright, window, file)
    except UnidentifiedImageError:
        raise SampleError(file, "corrupt", "not an image of a known format") from None
    except SampleError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError(file, "corrupt", str(error)) from None


def _windowed(image: Image.Image, window: Window, file: str) -> Pixels:
    if image.mode not in _SINGLE_CHANNEL_MODES:
        raise SampleError(
            file,
            "not single-channel",
            f"it is {image.mode}, and a window fits greyscale only; leave it out",
        )
    return through_window(np.asarray(image), window)


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode in _SIXTEEN_BIT_MODES:
        return through_window(np.asarray(image), (0, 65535))
    if image.has_transparency_data:
        return over_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))
