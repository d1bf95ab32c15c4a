from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmarks.reports import run, write

from benchmarks import results
from mcm.errors import UserError

RUNS = [
    run("teacher", 50, fvd=10, motion=0.9, odd=5),
    run("LCM", 1, fvd=90, motion=0.5, odd=1),
    run("LCM", 4, fvd=60, motion=0.8),
    run("MCM", 1, fvd=40, motion=0),
    run("MCM", 4, fvd=30, motion=0.8),
    run("real-poor", 0, motion=1),
]


def test_rows_are_methods_and_columns_numbers_of_steps(tmp_path: Path) -> None:
    report = results.read_reports([write(tmp_path / "report.json", RUNS)])
    assert results.table(report, "fvd") == [
        "| method | 1 step | 4 steps | in full |",
        "|---|---|---|---|",
        "| teacher, 50 steps | – | – | 10 [9, 12] |",
        "| LCM | 90 [89, 92] | 60 [59, 62] | – |",
        "| MCM | **40** [39, 42] | **30** [29, 32] | – |",
    ]
    assert results.table(report, "motion")[3:] == [
        "| LCM | **0.5** [-0.5, 2.5] | **0.8** [-0.2, 2.8] | – |",
        "| MCM | 0 [-1, 2] | **0.8** [-0.2, 2.8] | – |",
        "| real-poor | – | – | 1 [0, 3] |",
    ]


def test_large_values_have_no_exponent(tmp_path: Path) -> None:
    runs = [run("LCM", 1, fvd=1234.6), run("MCM", 1, fvd=999.8)]
    report = results.read_reports([write(tmp_path / "report.json", runs)])
    assert results.table(report, "fvd")[2:] == [
        "| LCM | 1235 [1234, 1237] |",
        "| MCM | **1000** [999, 1002] |",
    ]


def test_a_metric_that_nobody_has_is_left_out_and_none_is_lost(tmp_path: Path) -> None:
    report = results.read_reports([write(tmp_path / "report.json", RUNS)])
    assert results.groups_of(report) == {
        "Quality of video": ["fvd"],
        "Motion": ["motion"],
        "Further": ["odd"],
    }


def test_the_page_has_tables_curves_and_commands_and_is_the_same_again(tmp_path: Path) -> None:
    path, page = write(tmp_path / "report.json", RUNS), tmp_path / "docs.md"
    made = []
    for _ in range(2):
        results.main([str(path), "-o", str(page)])
        figures = sorted((tmp_path / "docs").iterdir())
        made.append([page.read_text(), *(figure.read_bytes() for figure in figures)])
    assert made[0] == made[1]
    text = page.read_text()
    assert [f.name for f in figures] == ["further.svg", "motion.svg", "quality-of-video.svg"]
    assert "\n### motion fidelity ↑\n\n| method |" in text
    assert "![Motion over steps](docs/motion.svg)" in text
    assert "| real-poor | real | `mcm evaluate real-poor@0` |" in text
    assert all(f"`{entry['command']}`" in text for entry in RUNS)
    assert f"`python benchmarks/results.py {path} -o {page}`" in text


def test_methods_of_one_number_of_steps_stand_beside_metrics_without_curves(tmp_path: Path) -> None:
    runs = [run("a", 4, fvd=60, alignment=2), run("b", 4, fvd=30), run("real-poor", 0, motion=1)]
    page = tmp_path / "docs.md"
    results.main([str(write(tmp_path / "report.json", runs)), "-o", str(page), "--title", "Few"])
    table = """
| method | FVD ↓ | text alignment ↑ |
|---|---|---|
| a | 60 [59, 62] | **2** [1, 4] |
| b | **30** [29, 32] | – |

## Motion
"""
    assert page.read_text().startswith("# Few\n")
    assert table in page.read_text()
    assert "| real-poor | 1 [0, 3] |" in page.read_text()
    assert not (tmp_path / "docs").exists()


def test_reports_are_joined_and_a_shared_row_stands_once(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", RUNS[:3])
    second = write(tmp_path / "b.json", [RUNS[0], *RUNS[3:]])
    joined = results.read_reports([first, second])
    assert joined["runs"] == RUNS


def test_reports_agree_but_for_rounding_and_what_one_did_not_measure(
    tmp_path: Path,
) -> None:
    first, second = run("A", 4, fvd=61.0), run("A", 4, fvd=61.0 + 1e-9)
    first["results"]["refused"] = {"value": 0.0, "low": 0.0, "high": 0.0, "count": 512}
    second["results"]["refused"] = {"value": None, "low": None, "high": None, "count": 0}
    reports = [write(tmp_path / "a.json", [first]), write(tmp_path / "b.json", [second])]
    assert results.read_reports(reports)["runs"] == [first]
    second["results"]["fvd"]["high"] += 0.001
    reports[1] = write(tmp_path / "c.json", [second])
    with pytest.raises(UserError, match="A at 4 steps has other values"):
        results.read_reports(reports)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_row_has_what_any_of_its_reports_measured(tmp_path: Path, order: tuple[int, int]) -> None:
    rows = [run("A", 4, fvd=61.0, motion=1.0), run("A", 4, fvd=61.0, alignment=2.0)]
    files = [write(tmp_path / f"{number}.json", [rows[number]]) for number in order]
    (joined,) = results.read_reports(files)["runs"]
    values = {name: found["value"] for name, found in joined["results"].items()}
    assert values == {"fvd": 61.0, "motion": 1.0, "odd": None, "alignment": 2.0}


def test_real_material_stands_after_the_methods_of_every_report(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", [run("A", 4), run("real-poor", 0)])
    second = write(tmp_path / "b.json", [run("real-clean", 0), run("B", 1)])
    labels = [entry["label"] for entry in results.read_reports([first, second])["runs"]]
    assert labels == ["A", "B", "real-poor", "real-clean"]


def test_reports_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", RUNS)
    other = write(tmp_path / "b.json", RUNS, protocol="q")
    with pytest.raises(UserError, match=r"b\.json: protocol is 'q'"):
        results.read_reports([first, other])
    changed = write(tmp_path / "c.json", [run("LCM", 4, fvd=61)])
    with pytest.raises(UserError, match="LCM at 4 steps has other values"):
        results.read_reports([first, changed])
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(UserError, match="no report of `mcm evaluate`"):
        results.read_reports([tmp_path / "d.json"])
