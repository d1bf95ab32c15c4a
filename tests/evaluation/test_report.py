from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.evaluation.small import Painter, Small
from tests.evaluation.test_suite import quiet, suite_of

from mcm.evaluation.gallery import Gallery
from mcm.evaluation.metric import NOTHING
from mcm.evaluation.report import cell, write_report
from mcm.evaluation.suite import Part, Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    suite = suite_of(tmp_path, Painter("good", (1, 4)))
    suite.run(Part(), quiet, Gallery(tmp_path, ("00000",)))
    return suite


def test_the_report_says_what_was_measured(suite: Suite) -> None:
    paths = write_report(suite, suite.table(), Gallery(suite.folder, ("00000",)))
    names = ["report.json", "report.md", "report.html", "protocol.json"]
    assert [path.name for path in paths] == names
    report = json.loads(paths[0].read_text())
    black = {"value": 0, "low": 0, "high": 0, "count": 4}
    runs = {(run["label"], run["steps"]): run for run in report["runs"]}
    assert runs["good", 4]["results"]["near_black"] == black
    assert runs["good", 4]["model"] == "models/good"
    assert runs["good", 4]["command"] == "mcm evaluate models/good@4"
    assert runs["real", 0]["results"]["fid"]["value"] is None
    text = paths[1].read_text()
    assert "| good | 4 |" in text and "| real | real |" in text
    assert "4 clips: 2 frames, 4x4, 8 frames a second" in text
    assert "`mcm evaluate models/good@4`" in text
    page = paths[2].read_text()
    assert page.count("<svg") == 3
    assert "stroke-dasharray" in page
    assert "<code>mcm evaluate models/good@4</code>" in page
    assert 'src="clips/00000/good-01.webp"' in page


def test_the_protocol_can_be_done_again_from_its_file(suite: Suite) -> None:
    write_report(suite, suite.table(), Gallery(suite.folder, ()))
    protocol = json.loads((suite.folder / "protocol.json").read_text())
    assert protocol["requests"][1] == {"key": "00001", "prompt": "a fox 1", "seed": 1}
    assert (protocol["frames"], protocol["size"], protocol["fps"]) == (2, [4, 4], 8)
    assert (protocol["count"], protocol["references"]) == (4, {"real": 3, "clean": 2})
    assert protocol["judges"] == {"level": "j"}


def test_what_could_not_be_measured_is_a_dash(tmp_path: Path) -> None:
    assert cell(NOTHING) == "–"
    suite = suite_of(tmp_path, Painter("good"), protocol=Small(judge=None))
    suite.run(Part(), quiet, Gallery(tmp_path, ()))
    text = write_report(suite, suite.table(), Gallery(tmp_path, ()))[1].read_text()
    assert text.count("Not measured") == 1
    assert "Not measured, no network: FID." in text
