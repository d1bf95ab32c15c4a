from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.reports import run, write

from benchmarks import proxy
from mcm.errors import UserError


def make_run(folder: Path, values: dict[int, float], students: dict[str, int]) -> Path:
    """Write the log of a run, with rows of other names between, and its students' cards."""
    folder.mkdir()
    rows = ["step,name,value"]
    for step, value in values.items():
        rows += [f"{step},loss,9", f"{step},proxy/score,{value}", f"{step},proxy/motion,{-value}"]
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    for name, step in students.items():
        (folder / name).mkdir()
        (folder / name / "mcm.json").write_text(json.dumps({"training_steps": step}))
    return folder


def world(tmp_path: Path, finals: list[float]) -> tuple[list[Path], Path]:
    """Three runs, of which the first has two students, with scores 4, 1, 2 and 3."""
    runs = [
        make_run(tmp_path / "a", {10: 1, 20: 4}, {"student": 25, "best": 10}),
        make_run(tmp_path / "b", {10: 7, 20: 2}, {"student": 20}),
        make_run(tmp_path / "c", {20: 3}, {"student": 20}),
    ]
    folders = [runs[0] / "student", runs[0] / "best", runs[1] / "student", runs[2] / "student"]
    rows: list[dict[str, Any]] = [
        run(str(n), 4, model=str(folder), fvd=final)
        for n, (folder, final) in enumerate(zip(folders, finals, strict=True))
    ]
    rows += [run("8", 8, model=str(folders[0]), fvd=1e6), run("fluent", 4, model="fluent", fvd=0)]
    return runs, write(tmp_path / "report.json", rows)


def test_students_are_matched_with_the_proxy_of_their_step(tmp_path: Path) -> None:
    runs, report = world(tmp_path, [40, 10, 20, 30])
    points = proxy.students(runs, [report], 4)
    assert [(point.proxy["score"], point.final) for point in points] == [
        (4, {"fvd": 40}),
        (1, {"fvd": 10}),
        (2, {"fvd": 20}),
        (3, {"fvd": 30}),
    ]


def test_a_student_of_two_reports_counts_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    runs, report = world(tmp_path, [40, 10, 20, 30])
    with (runs[0] / "log.csv").open("a") as log:
        log.write("30,proxy/sco")
    assert len(proxy.students(runs, [report, report], 4)) == 4


def test_ranks_count_for_spearman_and_distances_for_pearson(tmp_path: Path, capsys) -> None:
    runs, report = world(tmp_path, [40, 10, 20, 300])
    found = proxy.correlations(proxy.students(runs, [report], 4))
    rho, r, count = found["score", "fvd"]
    assert (rho, count) == (pytest.approx(0.8), 4)
    assert 0 < r < 0.8
    assert found["motion", "fvd"][0] == pytest.approx(-0.8)
    proxy.main([*map(str, runs), "--report", str(report)])
    assert "| fvd | +0.80 (r +0.34, n 4) | -0.80 (r -0.34, n 4) |" in capsys.readouterr().out


def test_a_metric_that_never_changes_has_no_correlation(tmp_path: Path) -> None:
    runs, report = world(tmp_path, [5, 5, 5, 5])
    assert proxy.correlations(proxy.students(runs, [report], 4)) == {}


def test_a_run_without_proxy_and_too_few_students_are_named(tmp_path: Path, capsys) -> None:
    (tmp_path / "log.csv").write_text("step,name,value\n1,loss,2\n")
    with pytest.raises(UserError, match=r"trainer\.proxy_every"):
        proxy.proxies(tmp_path)
    runs, report = world(tmp_path, [40, 10, 20, 30])
    with pytest.raises(SystemExit):
        proxy.main([str(runs[1]), "--report", str(report)])
    assert "found 1 students" in capsys.readouterr().err
