"""`mcm verify`: what it says, its exit codes, and that no file brings it down."""

import json
import os
import random
import resource
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.safety.conftest import FACTS, Frames

from mcm.cli import main
from mcm.errors import UserError
from mcm.media import save_video
from mcm.safety import detector
from mcm.safety.detection import model
from mcm.safety.detector import Detection
from mcm.safety.verify import verify


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["verify", *map(str, words)])
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().out


def reencoded(source: Path, target: Path) -> Path:
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream("libx264", rate=8, options={"crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for frame in read.decode(video=0):
            write.mux(stream.encode(frame))
        write.mux(stream.encode(None))
    return target


def test_report_of_a_signed_clip(
    signed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(signed)
    code, out = call(capsys, path, "--json")
    told = json.loads(out)
    assert (code, told["result"]) == (0, "found")
    assert told["manifest"]["generation"]["watermark"] == told["watermark"]["id"]
    assert told["manifest"]["generation"]["model"] == FACTS["model"]
    assert told["watermark"]["false_alarm_at_most"] < 1e-9
    code, out = call(capsys, path)
    assert code == 0
    for words in (
        "manifest: valid",
        "the local signer of this machine",
        "watermark: found",
        "seed",
    ):
        assert words in out


def test_reencoding_loses_the_manifest_and_keeps_the_mark(signed: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(signed)
    before = verify(tmp_path / "a.mp4")
    after = verify(reencoded(tmp_path / "a.mp4", tmp_path / "b.mp4"))
    assert after.manifest.state == "absent"
    assert before.mark is not None
    assert after.mark is not None
    assert after.mark.payload == before.mark.payload
    assert after.code == 0


def test_exit_codes_for_scripts(
    signed: bytes, tmp_path: Path, clean: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(signed)
    (tmp_path / "changed.mp4").write_bytes(signed[:-200] + b"x" + signed[-199:])
    (tmp_path / "text.txt").write_text("hello")
    Image.fromarray(clean[0, :30]).save(tmp_path / "photo.jpg")
    names = {"a.mp4": 0, "changed.mp4": 4, "text.txt": 3, "photo.jpg": 3}
    for name, expected in names.items():
        assert call(capsys, tmp_path / name)[0] == expected
    assert call(capsys, *(tmp_path / name for name in names))[0] == 4
    assert call(capsys, tmp_path / "missing.mp4")[0] == 2
    with pytest.raises(UserError, match="a folder"):
        verify(tmp_path)


def test_without_a_detector_it_says_so(
    signed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "DEFAULT_WEIGHTS", tmp_path / "none")
    (tmp_path / "a.mp4").write_bytes(signed)
    report = verify(tmp_path / "a.mp4")
    assert report.as_dict()["detectors"] == "not available"
    assert "detector: not available" in report.as_text()


def likely(frames: Frames) -> Detection:
    """A detector that a policy names by its place."""
    return Detection(0.75, f"made up for {frames.shape[-1]} channels")


def boastful(frames: Frames) -> Detection:
    return Detection(7.0, "none")


def broken(frames: Frames) -> Detection:
    raise RuntimeError("no weights")


def test_detectors_that_a_policy_names_are_asked_and_may_fail(
    signed: bytes, tmp_path: Path, policy: Callable[[str], Path]
) -> None:
    names = ("likely", "boastful", "broken", "absent")
    places = ", ".join(f"{name}: '{__name__}:{name}'" for name in names)
    policy(f"detection: {{detectors: {{{places}, nowhere: 'no.such.package:it'}}}}\n")
    (tmp_path / "a.mp4").write_bytes(signed)
    report = verify(tmp_path / "a.mp4")
    said = report.detections
    assert (said["likely"].score, said["likely"].reason) == (0.75, "")
    for name, reason in (
        ("boastful", "score 7.0 is no probability"),
        ("broken", "no weights"),
        ("absent", "AttributeError"),
        ("nowhere", "ModuleNotFoundError"),
    ):
        assert said[name].score is None
        assert reason in said[name].reason
    assert "detector likely: 0.75 likely to be generated (made up" in report.as_text()
    assert "detector broken: unknown (it failed: RuntimeError" in report.as_text()
    assert report.code == 0


def test_installed_packages_may_bring_detectors(
    signed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("packaged", f"{__name__}:likely", detector.GROUP)
    monkeypatch.setattr(detector, "entry_points", lambda group: [entry])
    (tmp_path / "a.mp4").write_bytes(signed)
    assert verify(tmp_path / "a.mp4").detections["packaged"].score == 0.75


HOSTILE = int(os.environ.get("MCM_HOSTILE_FILES", "150"))
"""How many; `MCM_HOSTILE_FILES=10000 pytest --timeout 0` for the promise as it stands."""


def hostile(samples: list[bytes], chance: random.Random) -> bytes:
    """Truncated, mixed, overwritten and random files; some keep a true beginning."""
    sample = bytearray(chance.choice(samples))
    kind = chance.randrange(4)
    if kind == 0:
        return bytes(sample[: chance.randrange(len(sample))])
    if kind == 1:
        return bytes(sample[: chance.randrange(64)]) + chance.randbytes(chance.randrange(4096))
    if kind == 2:
        for _ in range(chance.randrange(1, 40)):
            sample[chance.randrange(len(sample))] = chance.randrange(256)
        return bytes(sample)
    start = chance.randrange(len(sample))
    return bytes(sample[:start]) + chance.randbytes(64) + bytes(sample[start:])


def make_samples(folder: Path, frames: Frames) -> list[bytes]:
    names = ("a.mp4", "a.webm", "a.gif", "a.webp")
    for name in names:
        save_video(frames, folder / name, fps=8, overwrite=True)
    Image.fromarray(frames[0]).save(folder / "a.jpg")
    return [(folder / name).read_bytes() for name in (*names, "a.jpg")]


def test_no_file_brings_it_down(tmp_path: Path, clean: Frames) -> None:
    samples, chance = make_samples(tmp_path, clean[:2, :30, :30]), random.Random(0)
    path = tmp_path / "hostile"
    for _ in range(HOSTILE):
        path.write_bytes(hostile(samples, chance))
        start = time.process_time()
        assert verify(path).code in (0, 3, 4)
        assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20


def test_enormous_pictures_are_not_read(tmp_path: Path) -> None:
    Image.new("L", (20_000, 20_000)).save(tmp_path / "big.png")
    assert verify(tmp_path / "big.png").frames == 0
    assert np.isfinite(verify(tmp_path / "big.png").code)
