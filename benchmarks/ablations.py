"""Distil every ablation and evaluate all of them: one command, which goes on where it was ended.

    python benchmarks/ablations.py --dry-run
    python benchmarks/ablations.py
    python benchmarks/ablations.py --only base no-critic real-1 --seeds 0 1 2
    python benchmarks/ablations.py --only base --set trainer.steps=600 -o outputs/longer

What is finished is not done again, and a run with checkpoints goes on at its last; a folder that
another recipe made is refused. A run that fails is left out of the evaluation and named at the end.
`--dry-run` prints the commands that are left. Words after `--` are for `mcm evaluate`, such as
`-- --count 128`.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from mcm.distillation.claim import claimed
from mcm.errors import UserError, nearest
from mcm.recipe import FILE_NAME, resolve
from mcm.settings import Recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "ablations"
INTERRUPTED = 130
MCM = [sys.executable, "-c", "from mcm.cli import main; main()"]


@dataclass(frozen=True)
class Trial:
    """One ablation with one seed.

    Attributes:
        recipe: Its file.
        label: As in the table.
        output: Folder of the run.
        overrides: What changes the recipe.
    """

    recipe: Path
    label: str
    output: Path
    overrides: tuple[str, ...]

    @property
    def student(self) -> Path:
        """Folder of the finished student."""
        return self.output / "student"

    def resolved(self) -> Recipe:
        """Return the recipe with its changes."""
        return resolve(self.recipe, self.overrides)

    def finished(self) -> bool:
        """Return whether the student is there.

        Raises:
            UserError: Another recipe made what is in the folder.
        """
        made = self.output / FILE_NAME
        if made.is_file() and _timeless(resolve(made)) != _timeless(self.resolved()):
            raise UserError(
                f"{self.output}: made by another recipe than {self.recipe} now is; remove the "
                "folder, or give another with --output"
            )
        return (self.student / "mcm.json").is_file()

    def begun(self) -> bool:
        """Return whether there is a checkpoint to go on from."""
        return any((self.output / "checkpoints").glob("step-*"))

    def command(self) -> list[str]:
        """Return what distils it, from its last checkpoint if there is one."""
        resumed = ("--resume", "latest") if self.begun() else ()
        return ["distill", _shown(self.recipe), *self.overrides, *resumed]


def _timeless(recipe: Recipe) -> dict[str, object]:
    """Return what decides the student: not where its run is, nor how that was continued."""
    return recipe.model_dump(exclude={"trainer": {"resume", "output"}})


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def trials(
    recipes: Path, only: Sequence[str], seeds: Sequence[int], changes: Sequence[str], output: Path
) -> list[Trial]:
    """Return every recipe of a folder with every seed.

    Args:
        recipes: Folder of recipes.
        only: Names of some of them; none takes all.
        seeds: Seeds of training.
        changes: Overrides of all.
        output: Folder of the runs.

    Raises:
        UserError: There is no recipe of a name.
    """
    files = {path.stem: path for path in sorted(recipes.glob("*.yaml"))}
    for name in only:
        if name not in files:
            guess = nearest(name, files)
            hint = f"; did you mean {guess}?" if guess else ""
            raise UserError(f"--only: no recipe {name!r} in {recipes}{hint}")
    found = []
    for name, seed in dict.fromkeys(product(only or files, seeds)):
        folder = output / f"{name}-seed{seed}"
        overrides = (*changes, f"trainer.seed={seed}", f"trainer.output={folder}")
        found.append(Trial(files[name], f"{name} seed {seed}", folder, overrides))
    return found


def evaluation(found: Sequence[Trial], output: Path, options: Sequence[str]) -> list[str]:
    """Return the command that evaluates trials."""
    models = [f"{trial.student}:label={trial.label}" for trial in found]
    return ["evaluate", *models, "-o", str(output / "evaluation"), *options]


def work(
    found: Sequence[Trial],
    output: Path,
    options: Sequence[str],
    run: Callable[[list[str]], int],
    remove: Callable[[Path], None] = shutil.rmtree,
) -> list[str]:
    """Distil what is left, evaluate what is finished, and return the labels of what failed.

    Args:
        found: The trials.
        output: Folder of the evaluation's.
        options: Further words of the evaluation.
        run: Runs the words of a command of `mcm` and returns its exit code.
        remove: Removes the folder of a run that was killed before its first checkpoint.

    Raises:
        SystemExit: The user interrupted a run.
        UserError: Another process trains one of them.
    """
    left = [trial for trial in found if not trial.finished()]
    for trial in left:
        if (trial.output / FILE_NAME).is_file() and not trial.begun():
            with claimed(trial.output):
                pass
            remove(trial.output)
    codes = {trial.label: _checked(run(trial.command())) for trial in left}
    failed = [label for label, code in codes.items() if code]
    there = [trial for trial in found if trial.label not in failed]
    if there and _checked(run(evaluation(there, output, options))):
        failed.append("the evaluation")
    return failed


def call(command: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Ctrl-C reaches the command as well, which saves what it has: it is waited for, and the code is
    then 130 whatever it ends with.
    """
    process, interrupted = subprocess.Popen(command), False
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            interrupted = True
        else:
            return INTERRUPTED if interrupted else code


def _checked(code: int) -> int:
    if code == INTERRUPTED:
        sys.exit(code)
    return code


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and run, or print, what is left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", type=Path, default=RECIPES, help="folder of recipes")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of them")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/ablations"))
    parser.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    words = list(sys.argv[1:] if words is None else words)
    cut = words.index("--") if "--" in words else len(words)
    asked, options = parser.parse_args(words[:cut]), words[cut + 1 :]

    def run(arguments: list[str]) -> int:
        print(shlex.join(["mcm", *arguments]), flush=True)
        return 0 if asked.dry_run else call([*MCM, *arguments])

    try:
        found = trials(asked.recipes, asked.only, asked.seeds, asked.changes, asked.output)
        kept = (lambda folder: None) if asked.dry_run else shutil.rmtree
        failed = work(found, asked.output, options, run, kept)
    except UserError as error:
        parser.error(str(error))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; run again to go on")


if __name__ == "__main__":
    main()
