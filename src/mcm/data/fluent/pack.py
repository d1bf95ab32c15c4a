"""The artwork pack: sprites of every concept, read from one small zip file."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from mcm.errors import UserError

SPRITE_SIZE = 96
"""Side of every stored sprite in pixels."""

SPRITE_FPS = 8
"""Frames per second of the stored animations."""

DEFAULT_PACK = Path(__file__).parent / "fluent.zip"


@dataclass(frozen=True)
class PackIndex:
    """What a pack holds, by sprite key.

    Attributes:
        animated: Number of animation frames of each concept's hexcode.
        stills: Noun of each clean still's hexcode (concepts and further items).
        flat: Noun of each flat drawing's hexcode.
    """

    animated: dict[str, int]
    stills: dict[str, str]
    flat: dict[str, str]


class Pack:
    """Read access to the artwork; sprites are RGBA images of ``SPRITE_SIZE``.

    Args:
        path: The zip file.

    Raises:
        UserError: If the file is missing or is no pack.
    """

    def __init__(self, path: Path = DEFAULT_PACK) -> None:
        if not path.is_file():
            raise UserError(
                f"artwork pack {path}: file not found; build it with `mcm data fluent pack`"
            )
        self.path = path
        self._bytes = path.read_bytes()
        self._zip = zipfile.ZipFile(io.BytesIO(self._bytes))
        self.index = PackIndex(**json.loads(self._zip.read("index.json")))
        self._cache: dict[tuple[str, str], list[Image.Image]] = {}

    def animation(self, hexcode: str) -> list[Image.Image]:
        """Return the looping animation frames of a concept at ``SPRITE_FPS``."""
        return self._sprites("animated", hexcode)

    def still(self, hexcode: str) -> Image.Image:
        """Return the clean still of an item."""
        return self._sprites("stills", hexcode)[0]

    def flat(self, hexcode: str) -> Image.Image:
        """Return the flat drawing of an item."""
        return self._sprites("flat", hexcode)[0]

    def _sprites(self, kind: str, hexcode: str) -> list[Image.Image]:
        key = (kind, hexcode)
        if key not in self._cache:
            strip = Image.open(io.BytesIO(self._zip.read(f"{kind}/{hexcode}.webp")))
            self._cache[key] = split_strip(strip.convert("RGBA"))
        return self._cache[key]


def split_strip(strip: Image.Image) -> list[Image.Image]:
    """Cut a vertical strip of square sprites into its frames."""
    side = strip.width
    return [strip.crop((0, y, side, y + side)) for y in range(0, strip.height, side)]


def join_strip(sprites: list[Image.Image]) -> Image.Image:
    """Stack square sprites of one size vertically; the inverse of ``split_strip``."""
    side = sprites[0].width
    strip = Image.new("RGBA", (side, side * len(sprites)))
    for row, sprite in enumerate(sprites):
        strip.paste(sprite, (0, row * side))
    return strip


@lru_cache(maxsize=1)
def default_pack() -> Pack:
    """Return the pack shipped with the package, opened once."""
    return Pack()
