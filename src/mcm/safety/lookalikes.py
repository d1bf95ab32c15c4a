"""Letters that look like other letters, and signs that are not seen at all."""

from __future__ import annotations

import re
import unicodedata

LATIN = str.maketrans(
    "авеёзіјкмнорсԁѕтухһԛԝɑαβεηικνορτυχωɡɩʟⅼıøոսօհցզքլյᎠᎡᎢᎪᎫᎬᎳᎷᎻᏀᏃᏚᏞᏟᏢ",
    "abeezijkmhopcdstyxhqwaabenikvoptuxwgillionuohgqpljdrtajewmhgzslcp",
)
"""Letters of other scripts to the Latin ones that they look like, as small ones."""
CYRILLIC = str.maketrans("abcehkmoptxy", "авсенкмортху")
"""Latin letters to the Russian ones that they look like."""
_DRAWN = (
    "LATIN LETTER SMALL CAPITAL ",
    "REGIONAL INDICATOR SYMBOL LETTER ",
    "NEGATIVE CIRCLED LATIN CAPITAL LETTER ",
    "NEGATIVE SQUARED LATIN CAPITAL LETTER ",
)
_BLOCKS = (range(0x250, 0x2B0), range(0x1D00, 0x1D80), range(0xA720, 0xA800))
_EMBLEMS = range(0x1F100, 0x1F200)
_MARKS = (range(0x300, 0x370), range(0x1AB0, 0x1B00), range(0x1DC0, 0x1E00), range(0x20D0, 0x2100))
_FILLERS = (range(0x115F, 0x1161), range(0x2800, 0x2801), range(0x3164, 0x3165))
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE30), range(0xE0100, 0xE01F0))
_WITHOUT_SHAPE = ("Cf", "Cc", "Me")
_PLANES = (range(0x3000), range(0xA600, 0xA700), range(0xFE00, 0x14000), range(0x1BC00, 0x1D200))
_TAGS = range(0xE0000, 0xE0080)


def _drawn() -> dict[int, str]:
    """Return the letters that Unicode draws as capitals of another kind, by what they say."""
    codes = (code for block in (*_BLOCKS, _EMBLEMS) for code in block)
    names = ((code, unicodedata.name(chr(code), "")) for code in codes)
    found = ((code, name.removeprefix(start)) for code, name in names for start in _DRAWN)
    return {code: letter.lower() for code, letter in found if len(letter) == 1}


def _unseen() -> re.Pattern[str]:
    """Return what matches signs without a shape and marks on Latin letters, spaces excepted."""
    shapeless = {
        code
        for plane in (*_PLANES, _TAGS)
        for code in plane
        if unicodedata.category(chr(code)) in _WITHOUT_SHAPE
    }
    codes = shapeless.union(*_MARKS, *_FILLERS, *_SELECTORS)
    ranges: list[list[int]] = []
    for code in sorted(code for code in codes if not chr(code).isspace()):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return re.compile("[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges) + "]+")


CAPITALS = _drawn()
UNSEEN = _unseen()
