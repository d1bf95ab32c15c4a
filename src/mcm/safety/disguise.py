"""Prompts without their disguise: look-alike letters, figures for letters, gaps, repetitions.

Every pattern here takes time in proportion to the text: runs of signs are shortened first, and what
repeats gives nothing back.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mcm.errors import UserError
from mcm.safety.lookalikes import CAPITALS, CYRILLIC, LATIN, UNSEEN

MOST = 4000
"""Characters of a prompt that is read, with the signs that stand for several written out."""
_LEET = str.maketrans("01345789@$!|€", "oieastbgasiie")
_LEET_L = str.maketrans("01345789@$!|€", "oleastbgaslle")
_SIGNS = r".,\-_*~·•/\\|'’+"
_SPELT = tuple(
    re.compile(rf"(?<![^\W_])(?:[^\W_][{gap}]{{1,2}}){{2,}}[^\W_](?![^\W_])")
    for gap in (_SIGNS, _SIGNS + " ")
)
_SIGN = (
    r"[!-/:-@\[-`{-~¡-©«-±´¶-¸»¿\u2010-\u205e\u2190-\u245f\u2500-\u2775\u2794-\u27bf"
    r"\u3001-\u3003\u30fb]"
)
_RUN = re.compile(rf"({_SIGN}{{2}}){_SIGN}++")
_WIDE_GAP = re.compile(r"\s{2,}")
_WORD = re.compile(r"(?<![^ \n])[a-z]*+[^ \na-z][^ \n]*+")
_INNER = re.compile(r"(?<=[^\W\d_])(?!(?<=\bw)/o\b)[.\-_*~·•/\\|+](?=[^\W\d_])")
_MANY = re.compile(r"(\w)\1{2,}")
_LATIN_LETTER = re.compile(r"[a-z]")
_LETTER = re.compile(r"[^\W\d_]")
_MIXED = re.compile(r"[a-z][^ \na-zа-я]*+[а-я]|[а-я][^ \na-zа-я]*+[a-z]")
_JOINT = re.compile(r"(?<=[^\W_])[-_./\\+|~*·•#@]++|[-_./\\+|~*·•#@]++(?=[^\W_])")
_CAPITAL, _SMALL = "[A-ZÀ-ÖØ-ÞА-ЯЁ]", "[a-zß-öø-ÿа-яё]"
_CAMEL = re.compile(rf"(?<={_SMALL})(?={_CAPITAL})|(?<={_CAPITAL})(?={_CAPITAL}{_SMALL})")
_BACKWARDS = re.compile("\u202e([^\u202c]*+)\u202c?+")


def plain(text: str) -> str:
    """Return a text in lower case, without accents, invisible signs and other forms of letters."""
    return " ".join(_bare(text).split())


def written(text: str) -> str:
    """Return a text with signs that stand for several written out and runs of signs shortened.

    Raises:
        UserError: It has more than `MOST` characters then.
    """
    text = _RUN.sub(r"\1", text)
    if len(text) <= MOST:
        text = _RUN.sub(r"\1", unicodedata.normalize("NFKC", text))
    if len(text) > MOST:
        raise UserError(
            f"prompt: got {len(text)} characters, counted with signs such as `½` written out; "
            f"expected at most {MOST}; shorten it"
        )
    return text


def opened(text: str) -> str:
    """Return a text with words apart that signs or capitals join: `A_bC` becomes `A b C`."""
    return _CAMEL.sub(" ", _JOINT.sub(" ", written(text)))


@lru_cache(maxsize=4)
def readings(text: str) -> tuple[str, ...]:
    """Return the ways in which a text can be read, the plain one first.

    Each undoes more: look-alike letters and figures within words, repeated letters, letters that
    stand apart, signs inside words; all of that once more with joined words apart, and the first
    two once more as the text is shown where it is told to run from right to left.

    Raises:
        UserError: The text is too long, see `written`.
    """
    text = written(text)
    found = [*_undone(text), *_undone(opened(text))]
    if _BACKWARDS.search(text):
        found += _undone(_BACKWARDS.sub(lambda match: match[1][::-1], text))[:2]
    return tuple(dict.fromkeys(found))


def _bare(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate(CAPITALS).casefold()
    return unicodedata.normalize("NFC", UNSEEN.sub("", unicodedata.normalize("NFKD", text)))


def _undone(text: str) -> list[str]:
    """Return the readings of a text; wide gaps are line ends until then, as letters apart end."""
    lines = "\n".join(plain(piece) for piece in _WIDE_GAP.split(_bare(text)))
    closed, otherwise = (_closed_words(lines, table) for table in (_LEET, _LEET_L))
    found = [
        lines,
        closed,
        *(_MANY.sub(times, _INNER.sub("", closed)) for times in (r"\g<0>", r"\1", r"\1\1")),
        *(_MANY.sub(times, _INNER.sub("", otherwise)) for times in (r"\g<0>", r"\1")),
    ]
    if _MIXED.search(lines):
        found.append(_MANY.sub(r"\1", _WORD.sub(lambda match: _russian(match[0]), lines)))
    return [reading.replace("\n", " ") for reading in dict.fromkeys(found)]


def _closed_words(text: str, table: dict[int, int]) -> str:
    """Return a text with letters that stand apart joined: first over signs, then over spaces."""
    text = closed = _each_word(text, table)
    for spelt in _SPELT:
        closed = spelt.sub(lambda match: re.sub(r"[\W_]", "", match[0]), closed)
    return closed if closed == text else _each_word(closed, table)


def _each_word(text: str, table: dict[int, int]) -> str:
    return _WORD.sub(lambda match: _undisguised(match[0], table), text)


def _undisguised(word: str, table: dict[int, int]) -> str:
    """Return a word with figures replaced if it has letters, look-alikes if it mixes scripts."""
    if _LETTER.search(word):
        word = word.translate(table)
    alike = word.translate(LATIN)
    if alike.isascii() or not _LATIN_LETTER.search(word):
        return alike if alike.isascii() else word
    russian = _russian(word)
    return alike if _LATIN_LETTER.search(russian) else russian


def _russian(word: str) -> str:
    """Return a word that mixes scripts with its Latin letters replaced by Russian ones."""
    return word.translate(CYRILLIC) if _MIXED.search(word) else word
