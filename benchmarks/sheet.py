"""The picture of the README: a teacher's clips above a student's, on the same prompts and seeds.

    python benchmarks/sheet.py fluent-mcm-hq --steps 4 -o docs/student.png

Eight frames of each clip in a row, the first and the last among them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mcm.media import save_image
from mcm.media.layout import contact_sheet
from mcm.sampling.loading import load

PROMPTS = (
    "a fox moving left on a blue background",
    "a rocket moving up on a yellow background",
    "a butterfly growing on a green background",
)


def main() -> None:
    """Generate the clips and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="fluent-mcm-hq")
    parser.add_argument("--teacher", default="fluent")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--prompt", action="append", help="may be given several times")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    clips, labels = [], []
    teacher, student = load(given.teacher), load(given.model)
    for prompt in given.prompt or PROMPTS:
        for model, steps in ((teacher, teacher.defaults.steps), (student, given.steps)):
            clips.append(model.generate(prompt, steps=steps, seed=given.seed).frames)
            labels.append(f"{model.name}, {steps} steps: {prompt}, seed {given.seed}")
    facts = {"models": [teacher.name, student.name], "labels": labels}
    save_image(contact_sheet(clips, labels), given.output, metadata=facts, overwrite=True)


if __name__ == "__main__":
    main()
