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
_GROUP = re.compile(r"<(\w+)>")
_SPACELESS = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NOTHING = re.compile(r"(?!)")


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
        texts = [self.harmless.sub(" ", reading) for reading in readings(prompt)]
        return [
            category
            for category, rules in self.categories.items()
            if any(_holds(rule, text) for rule in rules for text in texts)
        ]


@lru_cache(maxsize=8)
def load_rules(extra: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Rules:
    """Return the rules of ``terms.yaml`` and further terms, as pairs of category and terms."""
    content = yaml.safe_load(TERMS.read_text(encoding="utf-8"))
    groups = {name: pattern(terms) for name, terms in content["groups"].items()}
    categories = {
        name: [_rule(text, groups) for text in texts]
        for name, texts in content["categories"].items()
    }
    for name, terms in extra:
        categories.setdefault(name, []).append((pattern(terms),))
    compiled = {name: tuple(rules) for name, rules in categories.items()}
    return Rules(compiled, pattern(content["harmless"]))


def pattern(terms: Iterable[Any]) -> re.Pattern[str]:
    """Return what matches any of the terms: whole words, `*` for further letters."""
    parts = sorted({_term(plain(str(term))) for term in terms}, key=len, reverse=True)
    return re.compile("|".join(parts)) if parts else _NOTHING


def _term(term: str) -> str:
    """Return one term as a pattern; scripts without spaces have no edges of words."""
    body = re.escape(term).replace(r"\ \*\ ", r"\ (?:\w+\ ){0,2}").replace(r"\*", r"\w*")
    return body if _SPACELESS.search(term) else rf"(?<!\w){body}(?!\w)"


def _rule(text: str, groups: Mapping[str, re.Pattern[str]]) -> tuple[re.Pattern[str], ...]:
    return tuple(_part(part, groups) for part in str(text).split(" + "))


def _part(part: str, groups: Mapping[str, re.Pattern[str]]) -> re.Pattern[str]:
    group = _GROUP.fullmatch(part.strip())
    return pattern([part]) if group is None else groups[group[1]]


def _holds(rule: tuple[re.Pattern[str], ...], text: str) -> bool:
    return all(part.search(text) for part in rule)
