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
_GROUP = re.compile(r"<(\w+)>")
_SPACELESS = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
NOTHING = r"(?!)"

Groups = Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """Compiled rules.

    Attributes:
        categories: For each category its rules; a rule holds when all of its patterns do.
        harmless: Phrases to take out first.
    """

    categories: Mapping[str, tuple[tuple[re.Pattern[str], ...], ...]]
    harmless: re.Pattern[str]

    def match(self, prompt: str) -> list[str]:
        """Return the categories of a prompt, in the order of the rules."""
        read = readings(self.harmless.sub(" ", prompt))
        texts = [self.harmless.sub(" ", reading) for reading in read]
        return [
            category
            for category, rules in self.categories.items()
            if any(_holds(rule, text) for rule in rules for text in texts)
        ]


@lru_cache(maxsize=8)
def load_rules(extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Rules:
    """Return the rules of ``terms.yaml`` and further terms, as pairs of category and terms."""
    content = yaml.safe_load(TERMS.read_text(encoding="utf-8"))
    tongues = {name: pattern(words).pattern for name, words in content["languages"].items()}
    groups: dict[str, str] = {}
    for name, terms in content["groups"].items():
        groups[name] = pattern(terms, groups, tongues).pattern
    categories = {
        name: [
            tuple(pattern([part], groups, tongues) for part in str(rule).split(" + "))
            for rule in rules
        ]
        for name, rules in content["categories"].items()
    }
    for name, terms in extra:
        categories.setdefault(name, []).append((pattern(terms, groups, tongues),))
    compiled = {name: tuple(rules) for name, rules in categories.items()}
    harmless = pattern(content["harmless"], groups).pattern
    return Rules(compiled, re.compile(harmless, re.IGNORECASE))


def pattern(
    terms: Iterable[Any], groups: Groups | None = None, tongues: Groups | None = None
) -> re.Pattern[str]:
    """Return what matches any of the terms.

    Args:
        terms: Words and phrases, as the head of ``terms.yaml`` explains.
        groups: Patterns that `<name>` stands for.
        tongues: Patterns of the words that tell a language, for terms such as `de:kind`.
    """
    bodies: dict[tuple[str, str], list[str]] = {}
    for term in sorted(set(map(str, terms)), key=len, reverse=True):
        language, colon, phrase = term.partition(":")
        bound = bool(colon) and language in (tongues or {})
        start, body, end = _phrase(phrase if bound else term, groups or {})
        before = rf"\A{_spoken(language, tongues or {})}[\s\S]*?" if bound else ""
        bodies.setdefault((before + start, end), []).append(body)
    parts = (any_of(start, found, end) for (start, end), found in bodies.items())
    return re.compile("|".join(parts) or NOTHING)


def any_of(start: str, bodies: Iterable[str], end: str) -> str:
    """Return the pattern of any of some bodies between two edges, which are tried once for all."""
    return f"{start}(?:{'|'.join(bodies)}){end}"


def _spoken(language: str, tongues: Groups) -> str:
    """Return what holds where a text has a word of a language and none of English."""
    return rf"(?=[\s\S]*(?:{tongues[language]}))(?![\s\S]*(?:{tongues['en']}))"


def _phrase(phrase: str, groups: Groups) -> tuple[str, str, str]:
    """Return a phrase as a pattern and its edges; scripts without spaces have none."""
    pieces = _GROUP.split(phrase)
    words = [_words(piece) for piece in pieces[::2]]
    names = [f"(?:{groups[name]})" for name in pieces[1::2]]
    body = "".join(word + name for word, name in zip(words, [*names, ""], strict=True))
    spaced = not _SPACELESS.search(phrase)
    return START if spaced and pieces[0] else "", body, END if spaced and pieces[-1] else ""


def _words(text: str) -> str:
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    escaped = re.escape(lead[:1] + plain(text) + (trail[:1] if text.strip() else ""))
    escaped = escaped.replace(r"\ \*\ ", rf"{GAP}(?:\w+{GAP}){{0,2}}").replace(r"\*", r"\w*")
    return escaped.replace(r"\ ", GAP).replace(r"\-", GAP)


def _holds(rule: tuple[re.Pattern[str], ...], text: str) -> bool:
    return all(part.search(text) for part in rule)
