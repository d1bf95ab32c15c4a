"""What a prompt asks for, by category: rules of words and phrases, read through every disguise.

The rules are in ``terms.yaml``. A list cannot know what a sentence means: it finds what is said
in known words, in the languages it has words for, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mcm.safety.disguise import plain, readings

TERMS = Path(__file__).with_name("terms.yaml")
GAP = "[ _-]"
"""What stands between the words of a phrase."""
START, END = r"(?<![^\W_])", r"(?![^\W_])"
"""The edges of a word; an underscore joins no words."""
_LETTER = r"[^\W_]"
_GROUP = re.compile(r"<(\w+)>")
_OPEN_END = re.compile(r"\\\*(?=\\ |\Z)")
_MASKED = re.compile(r"(?:\\)?~(\w+)")
_SPACELESS = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
NOTHING = r"(?!)"
_ENGLISH, _MARK, _LINE = "en", "0", "\n"


@dataclass(frozen=True)
class Rules:
    """Compiled rules.

    Attributes:
        categories: For each category its rules; a rule holds when all of its patterns do.
        harmless: Phrases to take out first, their words apart or joined.
        tongues: For each language what it is told by.
    """

    categories: Mapping[str, tuple[tuple[re.Pattern[str], ...], ...]]
    harmless: re.Pattern[str]
    tongues: Mapping[str, re.Pattern[str]]

    def match(self, prompt: str) -> list[str]:
        """Return the categories of a prompt, in the order of the rules.

        Raises:
            UserError: The prompt is too long, see `mcm.safety.disguise.written`.
        """
        read = readings(prompt)
        spoken = self._spoken(" ".join(read[:2]))
        texts = [spoken + self.harmless.sub(" ", reading) for reading in read]
        found: dict[tuple[str, int], bool] = {}

        def holds(part: re.Pattern[str], place: int) -> bool:
            key = part.pattern, place
            if key not in found:
                found[key] = bool(part.search(texts[place]))
            return found[key]

        return [
            category
            for category, rules in self.categories.items()
            if any(
                all(holds(part, place) for part in rule)
                for place in range(len(texts))
                for rule in rules
            )
        ]

    def _spoken(self, text: str) -> str:
        """Return a line with the languages of a text: any, if none of its words is English."""
        if self.tongues[_ENGLISH].search(text):
            return _MARK + _ENGLISH + _LINE
        spoken = (name for name, words in self.tongues.items() if words.search(text))
        return "".join(_MARK + name for name in spoken) + _LINE


@lru_cache(maxsize=8)
def load_rules(extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Rules:
    """Return the rules of ``terms.yaml`` and further terms, as pairs of category and terms."""
    content = yaml.safe_load(TERMS.read_text(encoding="utf-8"))
    tongues = {name: pattern(words) for name, words in content["languages"].items()}
    groups = Groups(tuple(tongues))
    for name, terms in content["groups"].items():
        groups.add(name, terms)
    rules: dict[str, list[list[str]]] = {
        name: [str(rule).split(" + ") for rule in found]
        for name, found in content["categories"].items()
    }
    for name, terms in extra:
        rules.setdefault(name, []).extend([term] for term in terms)
    compiled = {name: _compiled(found, groups) for name, found in rules.items()}
    harmless = pattern(content["harmless"], groups).pattern.replace(GAP, f"{GAP}?")
    return Rules(compiled, re.compile(harmless), tongues)


def _compiled(rules: list[list[str]], groups: Groups) -> tuple[tuple[re.Pattern[str], ...], ...]:
    """Return rules as patterns: words and phrases are one pattern, a group keeps its own."""
    single = [parts[0] for parts in rules if not parts[1:] and not _GROUP.fullmatch(parts[0])]
    others = [parts for parts in rules if parts[1:] or _GROUP.fullmatch(parts[0])]
    several = (tuple(pattern([part], groups) for part in parts) for parts in others)
    return (*([(pattern(single, groups),)] if single else []), *several)


class Groups:
    """The patterns that `<name>` stands for, and the languages that terms may be bound to.

    Args:
        tongues: Names of languages.
    """

    def __init__(self, tongues: tuple[str, ...] = ()) -> None:
        self.tongues = tongues
        self._patterns: dict[str, str] = {}
        self._edged: set[str] = set()

    def add(self, name: str, terms: Iterable[Any]) -> None:
        """Add a group of terms, in which those before it may be named."""
        self._patterns[name] = pattern(terms, self).pattern
        if all("" not in _edges(str(term), self) for term in terms):
            self._edged.add(name)

    def pieces(self, phrase: str) -> list[str]:
        """Return the pieces of a phrase as patterns, those of texts and of groups in turn."""
        pieces = _GROUP.split(phrase)
        pieces[::2] = map(_words, pieces[::2])
        pieces[1::2] = [f"(?:{self._patterns[name]})" for name in pieces[1::2]]
        return pieces

    def edged(self, name: str) -> bool:
        """Whether all terms of a group begin and end at the edges of words."""
        return name in self._edged

    def unbound(self, term: str) -> tuple[str, str]:
        """Return what a text must begin with for a term that is bound to a language, and it."""
        language, colon, phrase = term.partition(":")
        name = language.removeprefix("-")
        if not colon or name not in self.tongues:
            return "", term
        sign = "!" if language.startswith("-") else "="
        return rf"\A(?{sign}.*{_MARK}{name}(?![a-z]))[\s\S]*?", phrase


def pattern(terms: Iterable[Any], groups: Groups | None = None) -> re.Pattern[str]:
    """Return what matches any of some words and phrases, as the head of ``terms.yaml`` explains."""
    groups = groups or Groups()
    bodies: dict[tuple[str, str], list[str]] = {}
    for term in sorted(set(map(str, terms)), key=len, reverse=True):
        before, phrase = groups.unbound(term)
        text, group, *rest = *groups.pieces(phrase), ""
        start, end = _edges(phrase, groups)
        lead, body = ("", text + group) if text else (group, "")
        bodies.setdefault((before + start + lead, end), []).append(body + "".join(rest))
    parts = (any_of(start, found, end) for (start, end), found in bodies.items())
    return re.compile("|".join(parts) or NOTHING)


def any_of(start: str, bodies: Iterable[str], end: str) -> str:
    """Return the pattern of any of some bodies between two edges, which are tried once for all."""
    return f"{start}(?:{_branches(list(bodies))}){end}"


def _branches(bodies: list[str]) -> str:
    """Return alternatives with those together that begin alike, so that few are tried."""
    heads: dict[str, list[str]] = {}
    for body in dict.fromkeys(bodies):
        heads.setdefault(body[0] if body[:1].isalnum() else body, []).append(body)
    return "|".join(
        found[0] if len(found) == 1 else f"{head}(?:{_branches([body[1:] for body in found])})"
        for head, found in heads.items()
    )


def _edges(phrase: str, groups: Groups) -> tuple[str, str]:
    """Return the edges of a phrase; scripts without spaces have none, nor groups with such."""
    if _SPACELESS.search(phrase):
        return "", ""
    texts, names = _GROUP.split(phrase)[::2], _GROUP.findall(phrase)
    return (
        START if texts[0] or groups.edged(names[0]) else "",
        END if texts[-1] or groups.edged(names[-1]) else "",
    )


def _words(text: str) -> str:
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    escaped = re.escape(lead[:1] + plain(text) + (trail[:1] if text.strip() else ""))
    escaped = _MASKED.sub(lambda match: _masked(match[1]), escaped)
    escaped = escaped.replace(r"\ \*\ ", rf"{GAP}(?:{_LETTER}++{GAP}){{0,2}}")
    escaped = _OPEN_END.sub(lambda _: f"{_LETTER}*+", escaped).replace(r"\*", rf"{_LETTER}*")
    return escaped.replace(r"\ ", GAP).replace(r"\-", GAP)


def _masked(word: str) -> str:
    """Return a word in which a star may hide any letter but the first and the last."""
    hidden = (f"[{letter}v*]" if letter == "u" else f"[{letter}*]" for letter in word[1:-1])
    return word[0] + "".join(hidden) + word[-1]
