"""Prompts without their disguise: look-alike letters, figures for letters, gaps, repetitions."""

from __future__ import annotations

import re
import unicodedata

_LOOKALIKES = str.maketrans(
    "авеёзіјкмнорсԁѕтухһԛԝɑαβεηικνορτυχωɡɩʟⅼ",
    "abeezijkmhopcdstyxhqwaabenikvoptuxwgill",
)
_LEET = str.maketrans("0134578@$!|€+", "oieastbasiilet"[:13])
_LEET_L = str.maketrans("0134578@$!|€+", "oleastbaslllet"[:13])
_GAP = r"[\s.,\-_*~·•/\\|'’+]"
_SPELT = re.compile(rf"(?<![^\W_])(?:[^\W_]{_GAP}{{1,3}}){{2,}}[^\W_](?![^\W_])")
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
    first = plain(re.sub(r"[\t\n\r]", " ", text))
    found = [first]
    for table in (_LEET, _LEET_L):
        words = " ".join(_undisguised(word, table) for word in first.split())
        closed = _SPELT.sub(lambda match: re.sub(r"[\W_]", "", match[0]), words)
        closed = " ".join(_undisguised(word, table) for word in closed.split())
        for once in (closed, _MANY.sub(r"\1", closed), _MANY.sub(r"\1\1", closed)):
            found += [once, _INNER.sub("", once)]
    return list(dict.fromkeys(found))


def _undisguised(word: str, table: dict[int, int]) -> str:
    """Return a word with look-alikes replaced if it mixes scripts, and figures if it has letters."""
    latin = _LATIN.search(word)
    alike = word.translate(_LOOKALIKES)
    if latin or alike.isascii():
        word = alike
    letters = sum(letter.isalpha() for letter in word)
    return word.translate(table) if letters and letters * 2 >= len(word) else word
