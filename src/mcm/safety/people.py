"""Whether a prompt names a real person: a list of public people, titles and full names.

Beside the list, a title before a name (`president Duarte`) and a common given name before a
capitalised word (`John Whitfield`) count, except figures of fiction and places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from mcm.safety.disguise import plain, readings
from mcm.safety.prompts import pattern

PEOPLE = Path(__file__).with_name("people.yaml")
_NAME = r"[^\W\d_a-z][^\W\d_]+(?:[-’'][^\W\d_]+)*"
_STYLE = re.compile(r"\b(?:in the )?style of [\w.-]+(?: [\w.-]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class People:
    """Compiled names.

    Attributes:
        known: Names of the list, in any case.
        named: A title or given name and a capitalised name.
        exempt: Names that are nobody's, and those that the policy allows.
    """

    known: re.Pattern[str]
    named: re.Pattern[str]
    exempt: re.Pattern[str]

    def named_in(self, prompt: str) -> bool:
        """Whether a prompt names a real person; the manner of an artist is no person."""
        text = _STYLE.sub(" ", prompt)
        if any(self.known.search(self.exempt.sub(" ", plain_)) for plain_ in readings(text)):
            return True
        return any(not self.exempt.search(plain(found[0])) for found in self.named.finditer(text))


@lru_cache(maxsize=8)
def load_people(further: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> People:
    """Return the names of ``people.yaml`` with those of a policy."""
    content = yaml.safe_load(PEOPLE.read_text(encoding="utf-8"))
    titles = _either(content["titles"])
    given = _either(name.title() for name in content["given"])
    places = _either(name.title() for name in content["places"])
    named = rf"\b(?:(?i:{titles}) {_NAME}|{given} (?!{places}\b){_NAME})"
    return People(
        pattern([*content["known"], *further]),
        re.compile(named),
        pattern([*content["fiction"], *allowed]),
    )


def _either(words: Iterable[str]) -> str:
    return "(?:" + "|".join(map(re.escape, words)) + ")"
