"""Logs, display, probe and validation clips."""

import csv
import io
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from tests.distillation.toy import SHAPE

from mcm.distillation.callbacks import Report
from mcm.distillation.display import Display, peak_memory
from mcm.distillation.logs import CsvLog, Recorder, WandbLog, open_logs
from mcm.distillation.probe import CollapseWarning, Probe, X0Error
from mcm.distillation.sheet import LINE, Row, save_animation, save_sheet
from mcm.distillation.steps import STUDENT
from mcm.distillation.validation import ClipMaker, Validation, own_seeds, requests


def report(step: int, last: bool = False, **scalars: float) -> Report:
    return Report(step, 10, scalars or {"loss/motion": float(step)}, 0, last)


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.open()))[1:]


class Memory:
    def __init__(self) -> None:
        self.numbers: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[Path] = []

    def scalars(self, step, values) -> None:
        self.numbers.append((step, dict(values)))

    def picture(self, step, name, path) -> None:
        self.pictures.append(path)

    def close(self) -> None:
        self.numbers.append((-1, {}))


def test_means_are_logged_at_intervals_and_at_the_end() -> None:
    memory = Memory()
    recorder = Recorder(memory, every=4)
    for step in range(1, 8):
        recorder.after_step(report(step, last=step == 7))
    recorder.close()
    expected = [(4, 2.5), (7, 6.0)]
    assert memory.numbers[:-1] == [
        (step, {"loss/motion": mean, "skipped": 0.0}) for step, mean in expected
    ]


def test_a_resumed_csv_continues_at_its_step(tmp_path: Path) -> None:
    log = CsvLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.scalars(step, {"loss": step / 2})
    with (tmp_path / "log.csv").open("a") as file:
        file.write("4,lo")
    CsvLog(tmp_path, 2).scalars(3, {"loss": 9.0})
    assert rows(tmp_path / "log.csv") == [
        ["1", "loss", "0.5"],
        ["2", "loss", "1"],
        ["3", "loss", "9"],
    ]


def test_tensorboard_is_the_default_and_none_is_csv_only(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(picture)
    for tracker, events in (("tensorboard", 1), ("none", 0)):
        folder = tmp_path / tracker
        folder.mkdir()
        logs = open_logs(tracker, folder, 0, {})
        logs.scalars(1, {"loss": 1.0})
        logs.picture(1, "validation", picture)
        logs.close()
        assert rows(folder / "log.csv") == [["1", "loss", "1"]]
        assert len(list(folder.rglob("events*"))) == events


def test_a_resumed_run_is_the_same_one_at_the_tracker(tmp_path: Path, monkeypatch) -> None:
    class Tracker:
        asked: ClassVar[list[dict[str, Any]]] = []

        def init(self, **options: Any) -> None:
            self.asked.append(options)

    monkeypatch.setitem(sys.modules, "wandb", Tracker())
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        WandbLog(tmp_path / folder, {"steps": 3})
    first, again, other = (options["id"] for options in Tracker.asked)
    assert first == again != other
    assert all(options["resume"] == "allow" for options in Tracker.asked)


def test_lines_tell_step_losses_and_memory() -> None:
    stream = io.StringIO()
    display = Display(10, 0, 5, torch.device("cpu"), stream)
    for step in range(1, 8):
        display.after_step(report(step, step == 7, **{"loss/motion": 0.5, "loss/critic": 2.0}))
    display.close()
    lines = stream.getvalue().splitlines()
    assert [line.split("(")[0] for line in lines] == ["distil: 5/10 ", "distil: 7/10 "]
    assert "left" in lines[0] and "motion 0.5, critic 2" in lines[0] and "GiB" in lines[0]
    assert [line.endswith("finishing") for line in lines] == [False, True]
    assert peak_memory(torch.device("cpu")) > 2**24


def test_probe_sees_a_student_collapse(trainer_of, recipe_of, recwarn) -> None:
    trainer, memory = trainer_of(recipe_of()), Memory()
    backbone = trainer.objective.backbone
    error = X0Error.on(backbone, trainer.feed.held(4), 10)
    probe = Probe(error.of, STUDENT, memory, every=2)
    probe.after_step(report(2))
    assert not [w for w in recwarn if issubclass(w.category, CollapseWarning)]
    start = memory.numbers[0][1]
    assert list(start) == ["probe/t0999", "probe/t0799", "probe/t0499", "probe/t0299"]
    assert memory.numbers[1][1] == pytest.approx(start)
    for parameter in backbone.adapter_parameters(STUDENT).values():
        parameter.data.mul_(8.0)
    probe.after_step(report(3))
    with pytest.warns(CollapseWarning, match=r"step 4: .* x0 error rose from .*t0299"):
        probe.after_step(report(4))
    assert memory.numbers[2][1]["probe/t0299"] > 3 * start["probe/t0299"]


def test_probe_calls_not_a_number_a_collapse() -> None:
    errors = {None: 1.0, "student": float("nan")}
    probe = Probe(lambda name: {"t0001": errors[name]}, "student", Memory(), every=1)
    with pytest.warns(CollapseWarning):
        probe.after_step(report(1))


def test_validation_makes_a_sheet_and_an_animation(trainer_of, recipe_of, tmp_path: Path) -> None:
    section = {"prompts": ["a", "b"], "seeds": [1], "steps": [1, 4, 20], "teacher_steps": 3}
    recipe = recipe_of(trainer={"validation": section})
    objective, memory = trainer_of(recipe).objective, Memory()
    backbone = objective.backbone
    wanted = requests(["a", "b"], [1], backbone.encode_prompt(["a", "b"]))
    maker = ClipMaker(backbone, objective.empty, SHAPE, recipe, torch.device("cpu"))
    validation = Validation(maker, wanted, STUDENT, tmp_path / "v", memory, every=5)
    validation.after_step(report(4))
    assert memory.pictures == []
    validation.after_step(report(5))
    sheet, animation = tmp_path / "v/step-00000005.png", tmp_path / "v/step-00000005.webp"
    assert memory.pictures == [sheet]
    assert Image.open(sheet).size == (4 * 16, 6 * (16 + LINE))
    moving = Image.open(animation)
    assert (moving.size, moving.n_frames) == ((3 * 16, 2 * (16 + LINE)), 4)
    calls = backbone.calls
    validation.after_step(report(10))
    assert backbone.calls - calls == 2 * (1 + 4)


def test_clips_of_the_proxy_begin_with_noise_of_their_own(trainer_of, recipe_of) -> None:
    backbone = trainer_of(recipe_of()).objective.backbone
    prompts = ["a", "b", "c"]
    wanted = own_seeds(prompts, backbone.encode_prompt(prompts))
    assert [(one.prompt, one.seed) for one in wanted] == [("a", 0), ("b", 1), ("c", 2)]
    for one in wanted:
        alone = backbone.encode_prompt([one.prompt]).tokens_bld
        assert torch.equal(one.condition.tokens_bld, alone)


def test_sheet_holds_the_frames(tmp_path: Path) -> None:
    frames = np.arange(16, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    path = save_sheet([Row("x", "", frames)], tmp_path / "a.png")
    pixels = np.asarray(Image.open(path))[LINE]
    assert pixels[::2, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    film = save_animation([Row("x", "", frames * 15)], 1, 8, tmp_path / "a.webp")
    assert Image.open(film).n_frames == 16
