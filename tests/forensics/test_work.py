"""`mcm detector` and `mcm verify` from video files to a verdict."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.safety.conftest import Frames

from mcm.cli import main
from mcm.data.fluent.world import World
from mcm.errors import UserError
from mcm.forensics.material import TRAINED, UNSEEN, Traced, sources
from mcm.media.containers import write_mp4
from mcm.safety.detector import detectors
from mcm.safety.policy import DetectionSection
from mcm.safety.verify import verify

SCENES = 12


def drawn(number: int) -> Frames:
    images = World().clip(number).frames[:5]
    return np.stack([np.asarray(image.convert("RGB").resize((80, 80))) for image in images])


def synthetic(number: int) -> Frames:
    """A crude decoder: half the detail, and noise of its own in every frame."""
    frames = np.repeat(np.repeat(drawn(number)[:, ::2, ::2], 2, 1), 2, 2)
    noise = np.random.default_rng(number).normal(0, 6, frames.shape)
    return (frames + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for name, make in (("real", drawn), ("made", synthetic)):
        (root / name).mkdir()
        for number in range(SCENES):
            write_mp4(root / name / f"{number:02}.mp4", make(number), 8, "")
        (root / name / "notes.txt").write_text("no video")
    return root


@pytest.fixture(scope="module")
def trained(folders: Path) -> Iterator[Path]:
    words = ["train", f"files:{folders / 'made'}", "--real", f"files:{folders / 'real'}"]
    call("detector", *words, "-o", str(folders / "run"), "--count", "50")
    yield folders / "run" / "forensic.safetensors"


def call(*words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert caught.value.code == 0


def test_traces_are_kept_and_the_same_run_gives_the_same_detector(
    trained: Path, folders: Path
) -> None:
    kept = sorted((folders / "run" / "traces").glob("*.jsonl"))
    lines = [path.read_text().splitlines() for path in kept]
    assert [len(some) for some in lines] == [SCENES + 1] * 2
    before, times = trained.read_bytes(), [path.stat().st_mtime_ns for path in kept]
    words = ["train", f"files:{folders / 'made'}", "--real", f"files:{folders / 'real'}"]
    call("detector", *words, "-o", str(folders / "run"), "--count", "50")
    assert trained.read_bytes() == before
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_the_report_says_what_was_not_trained_on(trained: Path, folders: Path) -> None:
    output = folders / "report"
    words = [f"files:{folders / 'made'}", "--real", f"files:{folders / 'real'}", "--count", "6"]
    call("detector", "evaluate", str(trained), *words, "-o", str(output))
    told = json.loads((output / "report.json").read_text())
    rows = {row["distortion"]: row for row in told["groups"] if row["source"].startswith("files")}
    assert {name for name, row in rows.items() if row["trained"]} == set(TRAINED)
    assert {name for name, row in rows.items() if not row["trained"]} == set(UNSEEN)
    assert rows["none"]["auc"] == 1.0
    assert sum(count for _, _, count in told["reliability"]) > 0
    assert "| all others | any | no |" in (output / "report.md").read_text()
    assert (output / "reliability.png").read_bytes()[:4] == b"\x89PNG"


def test_verify_asks_the_trained_detector(
    trained: Path, tmp_path: Path, policy: Callable[[str], Path]
) -> None:
    policy(f"detection: {{forensic: {trained}}}\n")
    scores = []
    for name, frames in (("real", drawn(3)), ("made", synthetic(4))):
        write_mp4(tmp_path / f"{name}.mp4", frames[:, :, ::-1].copy(), 8, "")
        said = verify(tmp_path / f"{name}.mp4").footage.detections["forensic"]
        assert said.score is not None, said.reason
        assert "held apart" in said.calibration
        scores.append(said.score)
    assert scores[0] < 0.2
    assert scores[1] > 0.8


def test_outside_its_domain_it_says_unknown(
    trained: Path, tmp_path: Path, policy: Callable[[str], Path]
) -> None:
    policy(f"detection: {{forensic: {trained}}}\n")
    noise = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    for name, frames, reason in (
        ("noise", noise, "outside its domain: distance"),
        ("short", drawn(40)[:2], "needs at least 4 frames"),
    ):
        write_mp4(tmp_path / f"{name}.mp4", frames, 8, "")
        report = verify(tmp_path / f"{name}.mp4")
        said = report.footage.detections["forensic"]
        assert said.score is None
        assert reason in said.reason
        assert "detector forensic: unknown" in report.as_text()
        assert report.as_dict()["detectors"]["forensic"]["score"] is None


def test_the_watermark_is_on_half_of_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcm.evaluation.clips import EvaluationClip
    from mcm.forensics import material

    marked: list[int] = []
    monkeypatch.setattr(material, "embed", lambda f, payload: marked.append(payload) or f)
    frames = drawn(0)
    observer = Traced("none", TRAINED["none"])
    for number in range(100):
        observer.observe(EvaluationClip(f"{number:05}", frames, ""))
    assert 30 < len(marked) < 70


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (["sharp"], [], "real clips: got 'sharp', expected clean, poor or files:FOLDER"),
        (["files:/nowhere"], [], "real clips: got 'files:/nowhere'"),
        (["clean", "clean"], [], "'clean' is named twice"),
        (["clean"], ["nobody"], "no embedded model or folder 'nobody'"),
    ],
)
def test_wrong_sources_are_told(real: list[str], generated: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sources(real, generated)


def test_no_detector_is_named_until_there_is_one() -> None:
    rules = DetectionSection(detectors={"mine": "somewhere:detector"})
    assert {"mine"} <= set(detectors(rules))
