"""What a client uploads to be edited: checked, and turned into frames."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from mcm.data.image import IMAGES
from mcm.data.samples import SampleError
from mcm.errors import UserError
from mcm.safety.formats import HEAD, media_type
from mcm.sampling.edit_files import read_frames

if TYPE_CHECKING:
    from mcm.serving.order import Order

FIELD = "input_reference"
"""Name of the file in a form, as in OpenAI's API."""
_ENDINGS = {"video/avi": ".avi"}
"""Of media types that the standard library does not know."""
VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")


@dataclass(frozen=True)
class Source:
    """A video or picture to edit.

    Attributes:
        content: The file as it was sent.
        ending: That of its name, which says what it is; one of `IMAGES` or `VIDEOS`.
    """

    content: bytes
    ending: str

    def frames(self, order: Order) -> NDArray[np.uint8]:
        """Return its frames in the size, length and rate of an order, uint8, (t, h, w, 3).

        Raises:
            UserError: It cannot be read, or the video is too short.
        """
        is_image, size = self.ending in IMAGES, (order.height, order.width)
        try:
            return read_frames(self.content, is_image, order.frames, order.fps, size)
        except SampleError as error:
            raise UserError(f"{FIELD}: {error.reason}: {error.detail}") from None


def read_upload(upload: UploadFile) -> Source:
    """Read an uploaded file, which is not decoded yet.

    Raises:
        UserError: Neither its name nor its type nor its first bytes say that it is a video or a
            picture.
    """
    named = Path(upload.filename or "").suffix.lower()
    kind, content = (upload.content_type or "").partition(";")[0], upload.file.read()
    for ending in (named, _ending(kind), _ending(media_type(content[:HEAD]))):
        if ending in (*IMAGES, *VIDEOS):
            return Source(content, ending)
    known = ", ".join((*VIDEOS, *IMAGES))
    raise UserError(f"{FIELD}: got the ending {named[:9]!r}, expected a file of {known}")


def _ending(kind: str) -> str:
    return _ENDINGS.get(kind) or mimetypes.guess_extension(kind) or ""
