"""Read images with Pillow into RGB pixels, whatever they were stored as."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mcm.data.grey import UNIT, Window, through_window
from mcm.data.resize import CENTRE, MOST_PIXELS, WHITE, Pixels, fit, fit_image, lay_over
from mcm.data.samples import SampleError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Endings of the files that are taken for pictures where a video could stand as well."""
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_DEEP_MODES: dict[str, Window] = {**dict.fromkeys(_SIXTEEN_BIT_MODES, (0, 65535)), "F": UNIT}
"""What is shown of the stored values where no window is given."""
_SINGLE_CHANNEL_MODES = (*_DEEP_MODES, "L", "1")
_BOUND = f"pixels, expected {MOST_PIXELS} in all or fewer; make it smaller"


def read_image(
    source: bytes | Path,
    *,
    size: tuple[int, int] | None = None,
    anchor: tuple[float, float] = CENTRE,
    window: Window | None = None,
    file: str | None = None,
    ground: int = WHITE,
) -> Pixels:
    """Read an image the way a viewer shows it.

    EXIF orientation is applied, transparency is laid over white, greyscale, palette, CMYK, 16-bit
    and float images become RGB; of an animation the first frame is taken.

    Args:
        source: Content of a file, or its path.
        size: (height, width) to crop and resize to; `None` keeps the image's own.
        anchor: Place of the crop, see `mcm.data.resize.crop_box`.
        window: Of a single-channel image, the stored values that become black and white; `None`
            takes all that its bit depth can hold, 0 to 1 of floats, and colour as it is.
        file: Name for messages; the path when not given.
        ground: Grey level that transparency is laid over.

    Returns:
        uint8 (h w 3).

    Raises:
        SampleError: missing, unreadable, zero-length, corrupt, too large or, with a window, not
            single-channel.
    """
    file = file or (str(source) if isinstance(source, Path) else "image")
    with _decoded(_content(source, file), file) as image:
        values = _values(image, window, file)
        if values is not None:
            return fit(values, size, anchor) if size else values
        colours = _colours(image)
        shaped = (
            colours
            if size in (None, (image.height, image.width))
            else fit_image(colours, size, anchor)
        )
        pixels = np.asarray(shaped)
        return pixels if shaped.mode == "RGB" else lay_over(pixels, ground)


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


@contextmanager
def _decoded(content: bytes, file: str) -> Iterator[Image.Image]:
    """Give an upright image; what goes wrong with it is told of its file."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise SampleError(file, "too large", f"{image.width}x{image.height} {_BOUND}")
            ImageOps.exif_transpose(image, in_place=True)
            yield image
    except UnidentifiedImageError:
        raise SampleError(file, "corrupt", "not an image of a known format") from None
    except Image.DecompressionBombError:
        raise SampleError(file, "too large", f"far more {_BOUND}") from None
    except SampleError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise SampleError(file, "corrupt", str(error)) from None


def _values(image: Image.Image, window: Window | None, file: str) -> Pixels | None:
    """Return a single channel of more than 8 bits, or any through a window; else ``None``."""
    if window is not None and image.mode not in _SINGLE_CHANNEL_MODES:
        raise SampleError(
            file,
            "not single-channel",
            f"it is {image.mode}, and a window fits greyscale only; leave it out",
        )
    window = window or _DEEP_MODES.get(image.mode)
    return None if window is None else through_window(np.asarray(image), window)


def _colours(image: Image.Image) -> Image.Image:
    """Return an image as RGB, or as RGBA if it has transparency."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
