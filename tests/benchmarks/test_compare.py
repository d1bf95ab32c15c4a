from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare
from mcm.evaluation.arrays import pack

NAMED = {metric.name: metric for metric in reversed(compare.METRICS)}
FVD = NAMED["fvd"]


def run(folder: Path, name: str, shift: float, count: int = 40, judges: str = "j") -> None:
    """Write a run whose features are those of the same prompts, moved."""
    rng = np.random.default_rng(0)
    lines = [json.dumps({"model": name, "judges": {"clips": judges}})]
    for n in range(count):
        packed = pack(rng.normal(size=(1, 4)) + shift)
        seen = {metric.observer: {"features": packed} for metric in compare.METRICS}
        row = {"key": f"{n:05}", "seen": seen}
        lines.append(json.dumps(row))
    path = folder / "runs" / name / "000-of-001.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    references = {str(metric.reference): 40 for metric in compare.METRICS}
    (folder / "protocol.json").write_text(json.dumps({"references": references}))


def test_the_nearer_method_is_below_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, str(FVD.reference), 0.0, 400)
    run(tmp_path, "near-04", 1.0)
    run(tmp_path, "far-04", 2.0)
    run(tmp_path, "near-08", 1.0)
    file = tmp_path / "table.md"
    compare.main([str(tmp_path), "near", "far", "-o", str(file)])
    table = capsys.readouterr().out.strip()
    value = compare.ratio(tmp_path, FVD, "near-04", "far-04").value
    assert table.splitlines()[0] == "| near against | FVD, 4 steps |"
    assert table.splitlines()[2].startswith(f"| far | {value:.2f} [")
    assert value == pytest.approx(0.25, abs=0.1)
    assert file.read_text().startswith(table)
    assert "40 clips a value" in file.read_text()


def test_a_method_without_clips_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, str(FVD.reference), 0.0)
    run(tmp_path, "near-04", 1.0)
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path), "near", "near", "nobody"])
    told = capsys.readouterr().err
    assert "'near' and 'nobody' share no number of steps; its runs" in told
    assert "near-04" in told


def test_real_material_that_is_not_all_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With fewer real clips distances are others, and so is what one says of another."""
    run(tmp_path, str(FVD.reference), 0.0, count=30)
    run(tmp_path, "near-04", 1.0)
    run(tmp_path, "far-04", 2.0)
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path), "near", "far"])
    assert "real-poor has 30 of 40 clips; run the evaluation" in capsys.readouterr().err


def test_runs_of_other_judges_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, str(FVD.reference), 0.0)
    run(tmp_path, "near-04", 1.0)
    run(tmp_path, "far-04", 2.0, judges="others")
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path), "near", "far"])
    assert "clips of another run (judges" in capsys.readouterr().err


def test_an_evaluation_of_ones_own_protocol_has_distances_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "real-videos", 0.0, 400)
    run(tmp_path, "near-04", 1.0)
    run(tmp_path, "far-04", 2.0)
    compare.main([str(tmp_path), "near", "far", "--metric", "fvd", "fid_video"])
    assert "| FVD, 4 steps | FID to video, 4 steps |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path), "near", "far", "--metric", "fid_flat"])
    assert "has no 'fid_flat', only" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        compare.main([str(tmp_path), "a", "b", "-o", str(tmp_path / "no" / "x.md")])
    assert "make it first" in capsys.readouterr().err


def test_several_metrics_stand_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = NAMED["fid_image"]
    run(tmp_path, str(FVD.reference), 0.0, 400)
    run(tmp_path, str(images.reference), 4.0, 400)
    for name, shift in (("low-04", 1.0), ("high-04", 3.0)):
        run(tmp_path, name, shift)
    compare.main([str(tmp_path), "low", "high", "--metric", "fid_image", "fvd"])
    head, _, row = capsys.readouterr().out.splitlines()
    assert head == f"| low against | {FVD.title}, 4 steps | {images.title}, 4 steps |"
    video, image = (float(part.split()[0]) for part in row.split("|")[2:4])
    assert video < 0.5
    assert image > 2


def test_each_seed_is_compared_with_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, str(FVD.reference), 0.0, 400)
    for seed, (near, far) in enumerate(((1.0, 2.0), (2.0, 1.0))):
        run(tmp_path, f"base-seed-{seed}-04", near)
        run(tmp_path, f"part-seed-{seed}-04", far)
    labels = {
        compare.run_name(f"{name} seed {seed}", 4) for name in ("base", "part") for seed in (0, 1)
    }
    assert labels <= {path.name for path in (tmp_path / "runs").iterdir()}
    compare.main([str(tmp_path), "base", "part", "--seeds", "0", "1"])
    rows = capsys.readouterr().out.strip().splitlines()[2:]
    values = [float(row.split("|")[2].split()[0]) for row in rows]
    assert [row.split("|")[1].strip() for row in rows] == ["part seed 0", "part seed 1"]
    assert values[0] == pytest.approx(1 / values[1], abs=0.05)
    assert values[0] < 0.5
