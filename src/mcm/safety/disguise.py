"""Prompts without their disguise: look-alike letters, figures for letters, gaps, repetitions."""

from __future__ import annotations

import re
import unicodedata

_LOOKALIKES = str.maketrans(
    "авеёзіјкмнорсԁѕтухһԛԝɑαβεηικνορτυχωɡɩʟⅼ",
    "abeezijkmhopcdstyxhqwaabenikvoptuxwgill",
)
_LEET = str.maketrans("01345789@$!|€", "oieastbgasiie")
_LEET_L = str.maketrans("01345789@$!|€", "oleastbgaslle")
_DRAWN = (
    "LATIN LETTER SMALL CAPITAL ",
    "REGIONAL INDICATOR SYMBOL LETTER ",
    "NEGATIVE CIRCLED LATIN CAPITAL LETTER ",
    "NEGATIVE SQUARED LATIN CAPITAL LETTER ",
)
_BLOCKS = (range(0x250, 0x2B0), range(0x1D00, 0x1D80), range(0xA720, 0xA800))
_EMBLEMS = range(0x1F100, 0x1F200)
_SIGNS = r".,\-_*~·•/\\|'’+"
_SPELT = tuple(
    re.compile(rf"(?<![^\W_])(?:[^\W_][{gap}]{{1,2}}){{2,}}[^\W_](?![^\W_])")
    for gap in (_SIGNS, _SIGNS + " ")
)
_WIDE_GAP = re.compile(r"\s{2,}")
_INNER = re.compile(r"(?<=[^\W\d_])[.\-_*~·•/\\|+](?=[^\W\d_])")
_MANY = re.compile(r"(\w)\1{2,}")
_LATIN = re.compile(r"[a-z]")
_JOINT = re.compile(r"(?<=[^\W_])[-_./\\+|~*·•#@]+|[-_./\\+|~*·•#@]+(?=[^\W_])")
_CAPITAL, _SMALL = "[A-ZÀ-ÖØ-ÞА-ЯЁ]", "[a-zß-öø-ÿа-яё]"
_CAMEL = re.compile(rf"(?<={_SMALL})(?={_CAPITAL})|(?<={_CAPITAL})(?={_CAPITAL}{_SMALL})")


def _drawn() -> dict[int, str]:
    """Return the letters that Unicode draws as capitals of another kind, by what they say."""
    codes = (code for block in (*_BLOCKS, _EMBLEMS) for code in block)
    names = ((code, unicodedata.name(chr(code), "")) for code in codes)
    found = ((code, name.removeprefix(start)) for code, name in names for start in _DRAWN)
    return {code: letter.lower() for code, letter in found if len(letter) == 1}


_CAPITALS = _drawn()


def plain(text: str) -> str:
    """Return a text in lower case, without accents, invisible signs and other forms of letters."""
    text = unicodedata.normalize("NFKC", text).translate(_CAPITALS).casefold()
    parts = (
        letter
        for letter in unicodedata.normalize("NFKD", text)
        if unicodedata.category(letter) not in ("Cf", "Cc", "Me")
        and not (unicodedata.category(letter) == "Mn" and ord(letter) < 0x0370)
    )
    return " ".join(unicodedata.normalize("NFC", "".join(parts)).split())


def opened(text: str) -> str:
    """Return a text with words apart that signs or capitals join: `A_bC` becomes `A b C`."""
    return _CAMEL.sub(" ", _JOINT.sub(" ", unicodedata.normalize("NFKC", text)))


def readings(text: str) -> list[str]:
    """Return the ways in which a text can be read, the plain one first.

    Each undoes more: look-alike letters and figures within words, repeated letters, letters that
    stand apart, signs inside words; and all of that once more with joined words apart.
    """
    return list(dict.fromkeys(_undone(text) + _undone(opened(text))))


def _undone(text: str) -> list[str]:
    pieces = [plain(piece) for piece in _WIDE_GAP.split(text)]
    found = [" ".join(pieces)]
    for table in (_LEET, _LEET_L):
        closed = " ".join(_closed(_each_word(piece, table)) for piece in pieces)
        closed = _each_word(closed, table)
        for once in (closed, _MANY.sub(r"\1", closed), _MANY.sub(r"\1\1", closed)):
            found += [once, _INNER.sub("", once)]
    return found


def _closed(text: str) -> str:
    """Return a text with letters that stand apart joined: first over signs, then over spaces."""
    for spelt in _SPELT:
        text = spelt.sub(lambda match: re.sub(r"[\W_]", "", match[0]), text)
    return text


def _each_word(text: str, table: dict[int, int]) -> str:
    return " ".join(_undisguised(word, table) for word in text.split())


def _undisguised(word: str, table: dict[int, int]) -> str:
    """Return a word with look-alikes replaced if it mixes scripts, figures if it has letters."""
    latin = _LATIN.search(word)
    alike = word.translate(_LOOKALIKES)
    if latin or alike.isascii():
        word = alike
    return word.translate(table) if any(letter.isalpha() for letter in word) else word
