"""Whether a prompt names a real person: a list of public people, titles and full names.

Beside the list, a title before a name (`president Duarte`) and a common given name before a
capitalised word (`John Whitfield`) count, in small letters before what is plainly a family name;
except figures of fiction, and places and things that bear a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from mcm.safety.disguise import opened, plain, readings
from mcm.safety.prompts import END, GAP, NOTHING, START, any_of, pattern

PEOPLE = Path(__file__).with_name("people.yaml")
_NAME = r"[^\W\d_a-z][^\W\d_]+(?:[-’'][^\W\d_]+)*\b"
_STYLE = re.compile(r"\b(?:in the )?style of [\w.-]+(?: [\w.-]+)?", re.IGNORECASE)
_ADJECTIVAL = re.compile(r"(?:ии|ыи)$")
_VOWEL = re.compile(r"[ая]$")
_CYRILLIC = re.compile(r"[а-я]")
_WRITTEN = re.compile(r"[a-zа-я]")
_ENDINGS = {
    "adjective": "(?:[иы]и|ого|ому|[иы]м|ом|ая|ои|ую|[иы]е|[иы]х)",
    "vowel": "(?:[аяыиуюе]|о[ию]|е[ию])",
    "consonant": "(?:а|у|ом|ем|ым|е|ы|ои)?",
    "latin": "(?:s|a|u|em|iem|om|owi|ie|ego|emu|nin|in)?",
}
_DOT = "[ ・·]?"
"""What stands between the words of a name in scripts without spaces."""
_LEAST_JOINED = 9
"""Letters of a full name that is found within a longer word too."""


@dataclass(frozen=True)
class People:
    """Compiled names.

    Attributes:
        known: Names of the list, in any case.
        named: A title or given name and a capitalised name.
        small: A given name and a family name in small letters.
        nobody: Names that are nobody's.
        allowed: Names that the policy allows.
    """

    known: re.Pattern[str]
    named: re.Pattern[str]
    small: re.Pattern[str]
    nobody: re.Pattern[str]
    allowed: re.Pattern[str]

    def named_in(self, prompt: str) -> bool:
        """Whether a prompt names a real person.

        The manner of an artist is no person, unless the list has the artist. A name is nobody's
        only as a whole: `king charles` in `king charles spaniel`, not `donald trump` in `donald
        trump card`.

        Raises:
            UserError: The prompt is too long, see `mcm.safety.disguise.written`.
        """
        if any(self._has(self.known, reading) for reading in readings(prompt)):
            return True
        text = _STYLE.sub(" ", prompt)
        if any(self._has(self.small, reading) for reading in readings(text)):
            return True
        found = (match[0] for form in (text, opened(text)) for match in self.named.finditer(form))
        return any(not self._excused(plain(name)) for name in found)

    def _has(self, names: re.Pattern[str], text: str) -> bool:
        if not names.search(text):
            return False
        text = self.allowed.sub(" ", text)
        excused = [match.span() for match in self.nobody.finditer(text)]
        return any(
            not any(start <= name.start() and name.end() <= end for start, end in excused)
            for name in names.finditer(text)
        )

    def _excused(self, name: str) -> bool:
        return bool(self.nobody.search(name) or self.allowed.search(name))


@lru_cache(maxsize=8)
def load_people(further: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> People:
    """Return the names of ``people.yaml`` with those of a policy."""
    content = yaml.safe_load(PEOPLE.read_text(encoding="utf-8"))
    titles = _either(content["titles"])
    given = _either(name.title() for name in content["given"])
    sure = pattern(name for name in content["given"] if name not in content["words"]).pattern
    things = pattern(content["things"]).pattern
    no_thing = rf"(?!(?:[ -][^\W\d_]++)?[ -](?i:{things}))"
    named = rf"\b(?:(?i:{titles})|{given}) (?!(?i:{things})){_NAME}{no_thing}"
    small = rf"(?:{sure}){GAP}(?:{pattern(content['family']).pattern}){no_thing}"
    return People(
        _names([*content["known"], *further]),
        re.compile(named),
        re.compile(small),
        pattern(content["nobody"]),
        _names(allowed),
    )


def _either(words: Iterable[str]) -> str:
    return any_of("", map(re.escape, words), "")


def _names(names: Iterable[str]) -> re.Pattern[str]:
    """Return what matches names as they are declined, their words apart or joined."""
    edged, anywhere = [], []
    for words in sorted((re.split("[ -]", plain(name)) for name in names), key=len, reverse=True):
        joined, single = "".join(words), len(words) == 1
        if not _WRITTEN.search(joined):
            anywhere.append(_DOT.join(map(re.escape, words)))
            continue
        edged.append(f"{GAP}?".join(_declined(word, single) for word in words))
        if not single and len(joined) >= _LEAST_JOINED:
            anywhere.append(re.escape(joined))
    whole = any_of(START, edged or [NOTHING], END)
    return re.compile("|".join([whole, any_of("", anywhere or [NOTHING], "")]))


def _declined(word: str, single: bool) -> str:
    """Return a word of a name with the endings it may take; a single Latin name takes an `s`."""
    if not _CYRILLIC.search(word):
        return re.escape(word) + ("s?" if single else _ENDINGS["latin"])
    for kind, ending in (("adjective", _ADJECTIVAL), ("vowel", _VOWEL)):
        if ending.search(word):
            return re.escape(ending.sub("", word)) + _ENDINGS[kind]
    return re.escape(word) + _ENDINGS["consonant"]
