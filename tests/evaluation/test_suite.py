from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.real import Frames

from mcm.data.fluent.captions import prompt
from mcm.errors import UserError
from mcm.evaluation import features
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import RealClips, Request, requests
from mcm.evaluation.evaluate import evaluate_models
from mcm.evaluation.feature_nets import ClipNet, FrameNet
from mcm.evaluation.features import Vocabulary
from mcm.evaluation.gallery import Gallery
from mcm.evaluation.protocol import FluentProtocol, Protocol
from mcm.evaluation.report import cell, markdown, write_report
from mcm.evaluation.runs import OnClip
from mcm.evaluation.suite import Part, Suite, run_name


@dataclass
class Fake:
    """Gives real clips, blacked out when asked to."""

    label: str
    steps: tuple[int, ...] = (4,)
    dark: bool = False
    weights: str = "a"
    breaks_at: int | None = None
    made: list[int] = field(default_factory=list)

    def header(self, steps: int, protocol: str) -> dict[str, Any]:
        return {"model": self.label, "weights": self.weights, "steps": steps}

    def make(self, request: Request, steps: int, protocol: Protocol) -> EvaluationClip:
        if request.seed == self.breaks_at:
            raise KeyboardInterrupt
        self.made.append(request.seed)
        frames: Frames = RealClips("poor").clip(request).frames_thwc
        shown = frames // 20 if self.dark else frames
        return EvaluationClip(request.key, shown, request.prompt, request.combination, 0.5)


@pytest.fixture(autouse=True)
def _random_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    frames, words = FrameNet().eval(), Vocabulary(["fox"])
    clips = ClipNet(len(words)).eval()
    monkeypatch.setattr(features, "frame_net", lambda: frames)
    monkeypatch.setattr(features, "clip_net", lambda: (clips, words))


def suite_of(folder: Path, *contenders: Fake) -> Suite:
    teacher: Any = Fake("teacher", steps=(50,))
    some: Any = contenders
    return Suite(folder, FluentProtocol(real=4), some, count=3, teacher=teacher)


def quiet(_: str) -> OnClip:
    return lambda done, of: None


def test_a_table_has_every_run_and_every_metric(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, Fake("good", (1, 4)), Fake("dark", dark=True))
    gallery = Gallery(tmp_path, ("00001",))
    suite.run(Part(), quiet, gallery)
    assert suite.complete()
    table = {(row.label, row.steps): row.results for row in suite.table()}
    assert set(table) == {("teacher", 50), ("good", 1), ("good", 4), ("dark", 4)}
    assert set(table["good", 1]) == {metric.name for metric in suite.metrics}
    assert table["good", 4]["near_black"].value == 0
    assert table["dark", 4]["near_black"].value == 1
    assert table["dark", 4]["fid_video"].value > table["good", 4]["fid_video"].value
    assert table["good", 4]["flow_agreement"].value == pytest.approx(1, abs=1e-3)
    assert table["good", 4]["seconds"].value == 0.5
    text, files = gallery.shown()["00001"]
    assert text == prompt(requests(2)[1].combination)
    assert set(files) == {"teacher-50", "good-01", "good-04", "dark-04"}
    assert all((tmp_path / path).is_file() for path in files.values())


def test_parts_make_the_same_table(tmp_path: Path) -> None:
    whole, parts = (suite_of(tmp_path / name, Fake("good")) for name in ("whole", "parts"))
    whole.run(Part(), quiet, Gallery(tmp_path, ()))
    parts.run(Part(1, 2), quiet, Gallery(tmp_path, ()))
    assert not parts.complete()
    parts.run(Part(0, 2), quiet, Gallery(tmp_path, ()))
    assert parts.table() == whole.table()


def test_a_broken_evaluation_makes_only_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        suite_of(tmp_path, Fake("good", breaks_at=1)).run(Part(), quiet, Gallery(tmp_path, ()))
    rest = Fake("good")
    suite_of(tmp_path, rest).run(Part(), quiet, Gallery(tmp_path, ()))
    assert rest.made == [1, 2]


def test_runs_of_other_weights_are_refused(tmp_path: Path) -> None:
    suite_of(tmp_path, Fake("good")).run(Part(), quiet, Gallery(tmp_path, ()))
    with pytest.raises(UserError, match="holds clips of"):
        suite_of(tmp_path, Fake("good", weights="b")).run(Part(), quiet, Gallery(tmp_path, ()))


def test_the_report_says_what_was_measured(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, Fake("good", (1, 4)))
    gallery = Gallery(tmp_path, ("00000",))
    suite.run(Part(), quiet, gallery)
    paths = write_report(suite, gallery)
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    runs = json.loads(paths[0].read_text())["runs"]
    motion = {(run["model"], run["steps"]): run["results"]["motion"] for run in runs}
    assert motion["good", 4] == {"value": 1.0, "low": 1.0, "high": 1.0, "count": 3}
    assert "| good | 4 |" in paths[1].read_text()
    page = paths[2].read_text()
    assert page.count("<svg") > 10
    assert 'src="clips/00000/good-01.webp"' in page


def test_names_of_runs_are_safe_for_folders() -> None:
    assert run_name("a b/../c sampler=ddim", 4) == "a-b-..-c-sampler=ddim-04"
    assert "/" not in run_name("/tmp/x", 50)


def test_what_could_not_be_measured_is_a_dash(tmp_path: Path) -> None:
    suite = Suite(tmp_path, FluentProtocol(real=2), (), count=2)
    assert suite.table() == []
    assert markdown([], suite.metrics, "x").startswith("# Evaluation x")
    empty = suite.metrics[0].compute({}, {"0": {}})
    assert cell(empty) == "–"


@pytest.mark.parametrize(
    ("models", "part", "message"),
    [
        (["nothing"], (0, 1), "no embedded model"),
        (["./m@4", "./m@8"], (0, 1), "two are called 'm'"),
        (["./m"], (2, 2), "expected 0 to 1"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    models: list[str],
    part: tuple[int, int],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").mkdir()
    Path("m/model_index.json").write_text("{}")
    with pytest.raises(UserError, match=message):
        evaluate_models(models, tmp_path / "out", teacher=None, count=2, part=part)
    assert not (tmp_path / "out").exists()


def test_black_frames_are_not_black_for_nothing() -> None:
    """The fake's dark clips are dark, so that the table above can fail."""
    frames = RealClips("poor").clip(requests(1)[0]).frames_thwc
    assert np.median(frames) > 16 > np.median(frames // 20)
