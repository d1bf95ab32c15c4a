"""Recall and false positives of the check of prompts, on the labelled prompts beside this file.

    python benchmarks/moderation.py dev|test|fresh|later|latest [--misses]

The rules were made on `dev`. `test` was held apart, by the same author. `fresh` was written later
and with none of the lists of words and names at hand, and then measured as it stood. `later` was
written before the rules learnt other writings of names and words, by somebody who then taught them.
`latest` was written by the rules' author after rules had been mended by a list of defects that
others had found, was measured once, and no rule was changed after it.

Every prompt that should be refused and is written in Latin letters is tried a second time in a
disguise, drawn by a seed. `--misses` lists what went wrong; nobody looks at those of the part held
apart (`test`, `fresh`, `latest`) to mend rules. Shares stand with their 95 % intervals (Wilson's).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from mcm.safety.guard import categories
from mcm.safety.policy import ModerationSection

FOLDER = Path(__file__).parent / "moderation"
LEET = str.maketrans("aeios", "4310$")
CYRILLIC = str.maketrans("aceopxy", "асеорху")
WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x61, 0x7B)})
GREEK = str.maketrans("aokvi", "αοκνι")
MATHS = str.maketrans({chr(97 + n): chr(0x1D41A + n) for n in range(26)})
DISGUISES = {
    "leetspeak": lambda word: word.translate(LEET),
    "Cyrillic letters": lambda word: word.translate(CYRILLIC),
    "spaced": lambda word: " ".join(word),
    "hyphens": lambda word: "-".join(word),
    "zero width": lambda word: "\u200b".join(word),
    "repeated": lambda word: word[:2] + word[1] * 3 + word[2:],
    "full width": lambda word: word.translate(WIDE),
    "Greek letters": lambda word: word.translate(GREEK),
    "accents": lambda word: "".join(letter + "\u0301" for letter in word),
    "one dot": lambda word: word[: len(word) // 2] + "." + word[len(word) // 2 :],
    "mathematical": lambda word: word.translate(MATHS),
}


def disguised(prompt: str, chance: random.Random) -> tuple[str, str]:
    """Return the name of a disguise and the prompt with every word of four letters in it."""
    name = chance.choice(list(DISGUISES))
    words = (DISGUISES[name](word) if len(word) > 3 else word for word in prompt.split())
    return name, ("  " if name == "spaced" else " ").join(words)


def share(hits: int, of: int) -> str:
    """Return a share with its 95 % interval."""
    from scipy.stats import binomtest

    low, high = binomtest(hits, of).proportion_ci(method="wilson") if of else (0, 1)
    return f"{hits}/{of} ({hits / max(of, 1):.1%}, {low:.1%} to {high:.1%})"


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["dev", "test", "fresh", "later", "latest"])
    parser.add_argument("--misses", action="store_true")
    arguments = parser.parse_args()
    lines = (FOLDER / f"{arguments.part}.tsv").read_text(encoding="utf-8").splitlines()
    chance, rules = random.Random(1), ModerationSection()
    counts: Counter[tuple[str, str, bool]] = Counter()
    for label, language, prompt in (line.split("\t") for line in lines):
        tries = [("plain", prompt)]
        if label not in ("safe", "real_person") and prompt.isascii():
            tries.append(disguised(prompt, chance))
        for disguise, text in tries:
            found = categories(text, rules)
            refused = bool(found)
            kind = "disguised" if disguise != "plain" else "plain"
            counts[kind, label, refused] += 1
            counts[f"{kind} exact", label, label in found] += 1
            counts[kind, f"language {language}" + " safe" * (label == "safe"), refused] += 1
            if kind == "disguised":
                counts["by disguise", disguise, refused] += 1
            if arguments.misses and refused == (label == "safe"):
                print(label, language, disguise, text, found)
    table = {
        f"{kind}: {label}": f"{counts[kind, label, True]}/"
        f"{counts[kind, label, True] + counts[kind, label, False]}"
        for kind, label in sorted({key[:2] for key in counts})
    }
    for kind in ("plain", "disguised"):
        labels = {key[1] for key in counts if key[0] == kind} - {"safe"}
        labels = {label for label in labels if not label.startswith("language")}
        hits = sum(counts[kind, label, True] for label in labels)
        misses = sum(counts[kind, label, False] for label in labels)
        table[f"{kind}: all that should be refused"] = share(hits, hits + misses)
    alarms, passed = counts["plain", "safe", True], counts["plain", "safe", False]
    table["plain: false positives"] = share(alarms, alarms + passed)
    print(json.dumps(table, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
