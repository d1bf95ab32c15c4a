from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.random_judges import save_features
from tests.evaluation.small import Painter, Small

from mcm.data.fluent.captions import prompt
from mcm.errors import UserError
from mcm.evaluation import frechet
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import RealClips, Request, requests
from mcm.evaluation.gallery import Gallery
from mcm.evaluation.networks import Judges
from mcm.evaluation.protocol import FluentProtocol, Protocol
from mcm.evaluation.runs import OnClip
from mcm.evaluation.suite import Part, Suite, run_name


class Fake(Painter):
    """Gives real clips, blacked out when its level says so."""

    def make(self, request: Request, steps: int, protocol: Protocol) -> EvaluationClip:
        frames = RealClips("poor").clip(request).frames_thwc
        shown = frames if self.level else frames // 20
        return EvaluationClip(request.key, shown, request.prompt, request.combination, 0.5)


def suite_of(folder: Path, *contenders: Painter, protocol: Any = None, count: int = 4) -> Suite:
    some: Any = contenders
    teacher: Any = Painter("teacher", steps=(50,))
    return Suite(folder, protocol or Small(), some, count=count, teacher=teacher)


def quiet(_: str) -> OnClip:
    return lambda done, of: None


def run(suite: Suite, part: Part | None = None) -> None:
    suite.run(part or Part(), quiet, Gallery(suite.folder, ()))


def test_the_embedded_world_from_clips_to_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frechet, "_RESAMPLES", 2)
    judges = Judges(save_features(tmp_path / "judges"))
    some: Any = (Fake("dark", level=0),)
    teacher: Any = Fake("teacher", steps=(50,))
    suite = Suite(tmp_path, FluentProtocol(2, judges), some, count=2, teacher=teacher)
    gallery = Gallery(tmp_path, ("00001",))
    suite.run(Part(), quiet, gallery)
    assert suite.complete()
    assert suite.missing == {}
    table = {(row.label, row.steps): row.results for row in suite.table()}
    models = {("teacher", 50), ("dark", 4)}
    drawn = ("poor", "poor-again", "poor-decoded", "clean", "clean-decoded", "image", "flat")
    real = {(f"real-{name}", 0) for name in drawn}
    assert set(table) == models | real
    assert all(set(results) == {m.name for m in suite.metrics} for results in table.values())
    assert (table["teacher", 50]["near_black"].value, table["dark", 4]["near_black"].value) == (
        0,
        1,
    )
    assert table["dark", 4]["fid_video"].value > table["teacher", 50]["fid_video"].value
    assert table["teacher", 50]["flow_agreement"].value == pytest.approx(1, abs=1e-3)
    assert table["real-poor", 0]["motion"].value == table["real-clean", 0]["motion"].value == 1
    assert table["real-poor", 0]["watermark"].value == 1 > table["real-clean", 0]["watermark"].value
    assert table["real-clean", 0]["sharpness"].value > table["real-poor", 0]["sharpness"].value
    assert table["real-poor-again", 0]["fvd"].count == 2
    assert table["real-poor-decoded", 0]["watermark"].value == 1
    assert table["real-clean-decoded", 0]["watermark"].value == 0
    assert table["real-image", 0]["sharpness"].count > 0
    assert table["real-image", 0]["motion"].count == table["real-poor", 0]["fvd"].count == 0
    text, files = gallery.shown(suite.run_names)["00001"]
    assert text == prompt(requests(2)[1].combination)
    assert set(files) == {"teacher-50", "dark-04"}


def test_a_table_has_every_run_with_its_command(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, Painter("good", (1, 4)), Painter("dark", level=0))
    run(suite)
    table = {(row.label, row.steps): row for row in suite.table()}
    assert list(table) == [
        ("teacher", 50),
        ("good", 1),
        ("good", 4),
        ("dark", 4),
        ("real", 0),
        ("clean", 0),
    ]
    assert table["good", 4].command == "mcm evaluate models/good@4"
    assert table["dark", 4].results["fid"].value > 1e4 > table["good", 1].results["fid"].value
    assert table["real", 0].results["near_black"].count == 3
    assert table["real", 0].results["fid"].count == 0
    assert table["clean", 0].results["fid"].value == pytest.approx(3 * 19.5**2, rel=1e-3)


def test_parts_make_the_same_table_and_no_clip_twice(tmp_path: Path) -> None:
    painters = [Painter("good") for _ in range(4)]
    whole, first, second, last = (
        suite_of(tmp_path / name, painter)
        for name, painter in zip(("whole", "parts", "parts", "parts"), painters, strict=True)
    )
    run(whole)
    run(second, Part(1, 2))
    assert not second.complete()
    run(first, Part(0, 2))
    run(last)
    assert [painter.made for painter in painters] == [[0, 1, 2, 3], [0, 2], [1, 3], []]
    assert last.table() == whole.table()


def test_one_model_is_loaded_at_a_time(tmp_path: Path) -> None:
    models = [Painter("a", steps=(1, 2)), Painter("b", steps=(1, 2))]
    suite, seen = suite_of(tmp_path, *models), []

    def watch(_: str) -> OnClip:
        return lambda done, of: seen.append(tuple(model.loaded for model in models))

    suite.run(Part(), watch, Gallery(tmp_path, ()))
    assert [state for state, _ in groupby(seen)] == [
        (False, False),
        (True, False),
        (False, True),
    ]


def test_a_broken_evaluation_makes_only_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(suite_of(tmp_path, Painter("good", breaks_at=1)))
    rest = Painter("good")
    run(suite_of(tmp_path, rest))
    assert rest.made == [1, 2, 3]


@pytest.mark.parametrize(
    ("painter", "protocol", "message"),
    [
        (Painter("good", weights="b"), Small(), "weights: 'a' there, 'b' here"),
        (Painter("good"), Small(judge="k"), "judges: {'level': 'j'} there"),
        (Painter("good"), Small(prompt="a cat"), "protocol_digest"),
    ],
)
@pytest.mark.parametrize("part", [Part(), Part(1, 2)])
def test_old_parts_of_another_run_are_refused(
    tmp_path: Path, painter: Painter, protocol: Small, message: str, part: Part
) -> None:
    """Whatever the new part's own file is called."""
    run(suite_of(tmp_path, Painter("good")), Part(0, 2))
    suite = suite_of(tmp_path, painter, protocol=protocol)
    for use in (lambda: run(suite, part), suite.table):
        with pytest.raises(UserError, match=f"holds clips of another run.*{message}"):
            use()


def test_a_run_of_other_weights_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    run(suite_of(tmp_path, Painter("old")))
    new = Painter("new")
    with pytest.raises(UserError, match="weights: 'a' there, 'b' here"):
        run(suite_of(tmp_path, new, Painter("old", weights="b")))
    assert new.made == []


def test_parts_made_in_another_number_format_are_refused(tmp_path: Path) -> None:
    run(suite_of(tmp_path, Painter("good")), Part(0, 2))
    suite = suite_of(tmp_path, Painter("good", dtype="bfloat16"))
    with pytest.raises(UserError, match=r"resolved: .*float32.*bfloat16"):
        run(suite, Part(1, 2))


def test_a_finished_run_of_another_number_format_is_refused(tmp_path: Path) -> None:
    run(suite_of(tmp_path, Painter("good")))
    run(suite_of(tmp_path, Painter("good", dtype="bfloat16")))  # not asked for: what is there
    asked = Painter("good", dtype="bfloat16", asked_format={"dtype": "bfloat16"})
    with pytest.raises(UserError, match=r"resolved: .*float32.*bfloat16"):
        run(suite_of(tmp_path, asked))


def test_without_a_network_the_other_metrics_are_measured(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, Painter("good"), protocol=Small(judge=None))
    run(suite)
    assert suite.missing == {"FID": "no network"}
    assert suite.complete()
    results = suite.table()[1].results
    assert results["fid"].count == 0
    assert results["near_black"].count == 4


def test_more_clips_can_be_asked_for_later(tmp_path: Path) -> None:
    run(suite_of(tmp_path, Painter("good"), count=2))
    rest = Painter("good")
    run(suite_of(tmp_path, rest, count=4))
    assert rest.made == [2, 3]


def test_names_of_runs_are_safe_for_folders() -> None:
    assert run_name("a b/../c sampler=ddim", 4) == "a-b-..-c-sampler=ddim-04"
    assert "/" not in run_name("/tmp/x", 50)
