"""Prompts without their disguise: look-alike letters, figures for letters, gaps, repetitions."""

from __future__ import annotations

import re
import unicodedata

_LOOKALIKES = str.maketrans(
    "авеёзіјкмнорсԁѕтухһԛԝɑαβεηικνορτυχωɡɩʟⅼ",
    "abeezijkmhopcdstyxhqwaabenikvoptuxwgill",
)
_LEET = str.maketrans("0134578@$!|€", "oieastbasiie")
_LEET_L = str.maketrans("0134578@$!|€", "oleastbaslle")
_SIGNS = r".,\-_*~·•/\\|'’+"
_SPELT = tuple(
    re.compile(rf"(?<![^\W_])(?:[^\W_][{gap}]{{1,2}}){{2,}}[^\W_](?![^\W_])")
    for gap in (_SIGNS, _SIGNS + " ")
)
_WIDE_GAP = re.compile(r"\s{2,}")
_INNER = re.compile(r"(?<=[^\W\d_])[.\-_*~·•/\\|+](?=[^\W\d_])")
_MANY = re.compile(r"(\w)\1{2,}")
_LATIN = re.compile(r"[a-z]")


def plain(text: str) -> str:
    """Return a text in lower case, without accents, invisible signs and other forms of letters."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("ß", "ss")
    parts = (
        letter
        for letter in unicodedata.normalize("NFKD", text)
        if unicodedata.category(letter) not in ("Cf", "Cc", "Me")
        and not (unicodedata.category(letter) == "Mn" and ord(letter) < 0x0370)
    )
    return " ".join(unicodedata.normalize("NFC", "".join(parts)).split())


def readings(text: str) -> list[str]:
    """Return the ways in which a text can be read, the plain one first.

    Each undoes more: look-alike letters and figures within words, repeated letters, letters that
    stand apart, signs inside words.
    """
    pieces = [plain(piece) for piece in _WIDE_GAP.split(text)]
    found = [" ".join(pieces)]
    for table in (_LEET, _LEET_L):
        closed = " ".join(_closed(_each_word(piece, table)) for piece in pieces)
        closed = _each_word(closed, table)
        for once in (closed, _MANY.sub(r"\1", closed), _MANY.sub(r"\1\1", closed)):
            found += [once, _INNER.sub("", once)]
    return list(dict.fromkeys(found))


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
