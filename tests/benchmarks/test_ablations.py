from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import ablations
from mcm.distillation.claim import claimed
from mcm.errors import UserError
from mcm.recipe import save

ROOT = Path(__file__).resolve().parents[2]
LEAST = """
model: {teacher: fluent}
data: {videos: videos}
trainer: {output: out, steps: 10}
"""


class Shell:
    """Pretends to distil; fails at what it is told to."""

    def __init__(self, codes: dict[str, int] | None = None) -> None:
        self.codes, self.lines = codes or {}, list[list[str]]()

    def __call__(self, words: list[str]) -> int:
        self.lines.append(words)
        if words[0] == "evaluate":
            return 0
        code = self.codes.get(Path(words[1]).stem, 0)
        if not code:
            finish(found_of(Path(words[1])))
        return code


def finish(trials: Sequence[ablations.Trial]) -> None:
    for trial in trials:
        save(trial.resolved(), trial.output)
        trial.student.mkdir(parents=True, exist_ok=True)
        (trial.student / "mcm.json").write_text("{}")


def found_of(recipe: Path | None = None, seeds: Sequence[int] = (0,)) -> list[ablations.Trial]:
    only = [recipe.stem] if recipe else []
    return ablations.trials(Path("recipes"), only, seeds, ["trainer.steps=5"], Path("out"))


@pytest.fixture(autouse=True)
def _recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    for name in ("base", "no-critic"):
        Path(f"recipes/{name}.yaml").write_text(LEAST)


def test_every_recipe_is_distilled_with_every_seed_then_all_are_evaluated() -> None:
    shell = Shell()
    assert ablations.work(found_of(seeds=(0, 1)), Path("out"), ["--count", "9"], shell) == []
    assert [line[:2] for line in shell.lines[:4]] == [
        ["distill", "recipes/base.yaml"],
        ["distill", "recipes/base.yaml"],
        ["distill", "recipes/no-critic.yaml"],
        ["distill", "recipes/no-critic.yaml"],
    ]
    assert shell.lines[1][2:] == [
        "trainer.steps=5",
        "trainer.seed=1",
        "trainer.output=out/base-seed1",
    ]
    assert shell.lines[4] == [
        "evaluate",
        "out/base-seed0/student:label=base seed 0",
        "out/base-seed1/student:label=base seed 1",
        "out/no-critic-seed0/student:label=no-critic seed 0",
        "out/no-critic-seed1/student:label=no-critic seed 1",
        "-o",
        "out/evaluation",
        "--count",
        "9",
    ]


def test_labels_tell_the_seed_so_that_later_seeds_join_the_same_evaluation() -> None:
    labels = {
        seeds: [trial.label for trial in found_of(Path("base.yaml"), seeds)]
        for seeds in ((0,), (0, 1))
    }
    assert labels == {(0,): ["base seed 0"], (0, 1): ["base seed 0", "base seed 1"]}
    twice = ablations.trials(Path("recipes"), ["base", "base"], [0, 0], [], Path("out"))
    assert len(twice) == 1


def test_what_is_finished_is_kept_and_what_was_broken_off_goes_on() -> None:
    finish(found_of(Path("base.yaml")))
    Path("out/no-critic-seed0/checkpoints/step-00000002").mkdir(parents=True)
    shell = Shell()
    ablations.work(found_of(), Path("out"), [], shell)
    assert [line[0] for line in shell.lines] == ["distill", "evaluate"]
    assert shell.lines[0][-2:] == ["--resume", "latest"]


def test_a_run_killed_before_its_first_checkpoint_begins_afresh() -> None:
    (trial,) = found_of(Path("base.yaml"))
    save(trial.resolved(), trial.output)
    (trial.output / "log.csv").write_text("step,name,value\n")
    shell = Shell()
    ablations.work([trial], Path("out"), [], shell)
    assert "--resume" not in shell.lines[0]
    assert not (trial.output / "log.csv").exists()
    assert trial.finished()


def test_a_run_of_another_process_is_left_alone() -> None:
    (trial,) = found_of(Path("base.yaml"))
    save(trial.resolved(), trial.output)
    with claimed(trial.output), pytest.raises(UserError, match="another process trains"):
        ablations.work([trial], Path("out"), [], Shell())
    assert (trial.output / "recipe.yaml").is_file()


def test_a_folder_that_was_moved_is_of_the_same_recipe() -> None:
    finish(found_of(Path("base.yaml")))
    moved = ablations.trials(Path("recipes"), ["base"], (0,), ["trainer.steps=5"], Path("moved"))
    Path("out").rename("moved")
    assert moved[0].finished()


def test_ctrl_c_waits_for_the_command_to_save(tmp_path: Path) -> None:
    """As in a terminal, whose Ctrl-C reaches both."""
    child = (
        "import signal, time, pathlib\n"
        "def save(*_):\n"
        "    time.sleep(1)\n"
        "    pathlib.Path('saved').touch()\n"
        "    raise SystemExit(130)\n"
        "signal.signal(signal.SIGINT, save)\n"
        "pathlib.Path('begun').touch()\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", child]
    parent = f"import sys; from benchmarks.ablations import call; sys.exit(call({command!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", parent], start_new_session=True, env=environment
    )
    wait_for(Path("begun"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert Path("saved").is_file()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)


def test_a_failure_does_not_end_the_others_and_an_interrupt_does() -> None:
    shell = Shell({"base": 2})
    assert ablations.work(found_of(), Path("out"), [], shell) == ["base seed 0"]
    assert [line[0] for line in shell.lines] == ["distill", "distill", "evaluate"]
    assert shell.lines[2][1:2] == ["out/no-critic-seed0/student:label=no-critic seed 0"]
    with pytest.raises(SystemExit):
        ablations.work(found_of(), Path("out"), [], Shell({"base": 130}))


def test_a_folder_of_another_recipe_is_refused() -> None:
    finish(found_of(Path("base.yaml")))
    Path("recipes/base.yaml").write_text(LEAST + "critic: {weight: 0.5}\n")
    with pytest.raises(UserError, match="made by another recipe"):
        ablations.work(found_of(), Path("out"), [], Shell())


def test_a_dry_run_prints_commands_that_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    ablations.main(["--recipes", "recipes", "--only", "base", "--dry-run", "--", "--count", "9"])
    distil, evaluate = capsys.readouterr().out.splitlines()
    output = "outputs/ablations"
    assert distil == (
        f"mcm distill recipes/base.yaml trainer.seed=0 trainer.output={output}/base-seed0"
    )
    assert evaluate == (
        f"mcm evaluate '{output}/base-seed0/student:label=base seed 0' "
        f"-o {output}/evaluation --count 9"
    )


def test_the_shipped_ablations_are_all_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = ablations.trials(ablations.RECIPES, [], [0], [], Path("out"))
    names = {trial.recipe.stem for trial in found}
    assert {"base", "no-critic", "real-0", "critic-dinov2"} <= names
    with pytest.raises(SystemExit):
        ablations.main(["--only", "no-critik"])
    assert "did you mean no-critic?" in capsys.readouterr().err
