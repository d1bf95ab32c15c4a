"""`mcm verify`: what it says, its exit codes, and that no file brings it down."""

import json
import os
import random
import resource
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
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
from mcm.safety import detector, forensic
from mcm.safety.audit import record
from mcm.safety.detector import Detection
from mcm.safety.examiner import Examiner
from mcm.safety.formats import sidecar_of
from mcm.safety.report import Report
from mcm.safety.verify import verify
from mcm.safety.watermark import embed


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
    code, out = call(capsys, tmp_path / "missing.mp4", tmp_path / "a.mp4", tmp_path / "text.txt")
    assert code == 3
    assert out.count("manifest: ") == 2
    assert call(capsys, tmp_path / "missing.mp4", tmp_path / "a.mp4")[0] == 2
    with pytest.raises(UserError, match="a folder"):
        verify(tmp_path)


def test_what_is_no_regular_file_or_cannot_be_read_is_a_clear_error(
    signed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(UserError, match=r"no regular file, but a pipe"):
            verify(path)
    (tmp_path / "a.mp4").write_bytes(signed)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=r"a\.mp4: cannot be read \(Permission denied\)"):
        verify(tmp_path / "a.mp4")


def test_one_file_that_fails_ends_no_other_ones_report(
    signed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("first.mp4", "bad.mp4", "denied.mp4", "last.mp4"):
        (tmp_path / name).write_bytes(signed)
    honest = Examiner.verify

    def failing(self: Examiner, path: Path) -> Report:
        if path.name == "bad.mp4":
            raise AttributeError("no such\nthing")
        if path.name == "denied.mp4":
            raise UserError(f"{path}: cannot be read")
        return honest(self, path)

    monkeypatch.setattr(Examiner, "verify", failing)
    files = sorted(tmp_path.glob("*.mp4"))
    with pytest.raises(SystemExit) as caught:
        main(["verify", *map(str, files)])
    out, err = capsys.readouterr()
    assert caught.value.code == 5
    assert out.count("manifest: valid") == 2
    assert "bad.mp4: AttributeError: no such\\nthing\n" in err
    code, out = call(capsys, *files, "--json")
    assert code == 5
    assert ["error" in json.loads(line) for line in out.splitlines()] == [True, True, False, False]


def test_the_command_checks_no_permissions_before_it_begins(
    signed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.mp4").write_bytes(signed)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert call(capsys, tmp_path / "a.mp4")[0] == 0


def test_a_mark_that_is_not_the_manifests_is_told(
    signed: bytes, tmp_path: Path, clean: Frames
) -> None:
    (tmp_path / "a.mp4").write_bytes(signed)
    report = verify(tmp_path / "a.mp4")
    assert report.marks_agree
    assert "NOT THE MANIFEST" not in report.as_text()
    assert report.mark is not None
    other = replace(report.mark, payload=report.mark.payload ^ 1)
    report = replace(report, footage=replace(report.footage, mark=other))
    assert f"id {other.payload:08x}, which is NOT THE MANIFEST'S" in report.as_text()
    assert report.as_dict()["watermark"]["agrees_with_manifest"] is False
    (tmp_path / "b.mp4").write_bytes(reencoded(tmp_path / "a.mp4", tmp_path / "c.mp4").read_bytes())
    assert verify(tmp_path / "b.mp4").marks_agree is None


def test_a_sheet_of_frames_is_said_not_to_be_searched(tmp_path: Path, clean: Frames) -> None:
    facts = {"width": 128, "height": 128}
    save_video(clean[:4], tmp_path / "a.png", fps=8, format="sheet", metadata=facts)
    text = verify(tmp_path / "a.png").as_text()
    assert "watermark: not looked for, a sheet of frames is not searched; cut out one of" in text
    with Image.open(tmp_path / "a.png") as sheet:
        sheet.crop((0, 0, 128, 128)).save(tmp_path / "one.png")
    assert verify(tmp_path / "one.png").mark is not None


def test_without_a_detector_it_says_so(
    signed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forensic, "DEFAULT_WEIGHTS", tmp_path / "none")
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
    said = report.footage.detections
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
    assert verify(tmp_path / "a.mp4").footage.detections["packaged"].score == 0.75


def test_no_folder_is_needed_to_read(
    signed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.mp4").write_bytes(signed)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MCM_HOME", str(tmp_path / "file" / "home"))
    code, out = call(capsys, tmp_path / "a.mp4")
    assert code == 0
    assert "not trusted" in out
    with pytest.raises(UserError, match=r"MCM_HOME: the folder .* cannot be made"):
        record("written")
    monkeypatch.setenv("MCM_HOME", str(tmp_path / "unmade"))
    verify(tmp_path / "a.mp4")
    assert not (tmp_path / "unmade").exists()


def written(frames: Frames, target: Path, codec: str = "libx264") -> Path:
    with av.open(str(target), "w") as write:
        stream = write.add_stream(codec, rate=8, options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            write.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        write.mux(stream.encode(None))
    return target


@pytest.mark.parametrize("place", [0, 60, 192])
def test_a_mark_is_found_wherever_it_stands(place: int, tmp_path: Path, clean: Frames) -> None:
    """25 seconds, 8 of whose 200 frames are marked."""
    frames = np.repeat(clean[:1], 200, 0)
    frames[:, 0, 0] = np.arange(200)[:, None]
    middle = {0: slice(0, 24), 60: slice(90, 120), 192: slice(180, 200)}[place]
    frames[middle] = embed(frames[middle], 77)
    seen = verify(written(frames, tmp_path / "a.mp4")).footage
    assert seen.mark is not None
    assert seen.mark.payload == 77
    assert seen.marked == seen.spans[{0: 0, 60: 1, 192: 2}[place]]
    assert seen.frames == 40
    assert seen.spans[0] == (0.0, 2.875)
    assert seen.spans[1] == pytest.approx((12.0, 12.875))
    assert seen.spans[2] == pytest.approx((24.0, 24.875))
    assert seen.false_alarm == 3 * seen.mark.false_alarm


def test_frames_of_a_long_animation_are_spread_too(tmp_path: Path, clean: Frames) -> None:
    images = [Image.fromarray(np.full_like(clean[0, :16, :16], n)) for n in range(60)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    seen = verify(tmp_path / "a.gif").footage
    assert (seen.frames, seen.mark) == (40, None)
    assert np.allclose(seen.spans, [(0, 2.3), (2.6, 3.3), (5.2, 5.9)])
    assert "none in 40 frames, at 0.0 to 2.3 s, 2.6 to" in verify(tmp_path / "a.gif").as_text()


def test_an_examiner_says_the_same_and_goes_on_after_a_breakdown(
    signed: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(signed)
    with closing(Examiner()) as examiner:
        assert examiner.verify(path) == verify(path)
        assert examiner._process is not None
        examiner._process.kill()
        examiner._process.wait()
        report = examiner.verify(path)
        assert (report.code, report.footage.unfinished) == (5, "a reader broke down over it")
        assert "manifest: NOT LOOKED AT, a reader broke down over it" in report.as_text()
        assert "not looked at to the end" in report.as_text()
        assert examiner.verify(path) == verify(path)


def test_an_examiner_ends_what_takes_too_long(tmp_path: Path) -> None:
    (tmp_path / "a.webm").write_bytes(b"\x1a\x45\xdf\xa3")
    with closing(Examiner(seconds=0.05)) as examiner:
        report = examiner.verify(tmp_path / "a.webm")
    assert report.footage.unfinished == "it took more than 0.05 seconds"
    assert report.manifest.state == "unknown"
    assert report.as_dict()["result"] == "not looked at"


HOSTILE = int(os.environ.get("MCM_HOSTILE_FILES", "24"))
"""How many; `MCM_HOSTILE_FILES=10000 pytest --timeout 0` for the promise as it stands."""


def hostile(sample: bytes, chance: random.Random) -> bytes:
    """Truncated, mixed, overwritten and random files; some keep a true beginning."""
    changed = bytearray(sample)
    kind = chance.randrange(4)
    if kind == 0:
        return bytes(changed[: chance.randrange(len(changed))])
    if kind == 1:
        return bytes(changed[: chance.randrange(64)]) + chance.randbytes(chance.randrange(4096))
    if kind == 2:
        for _ in range(chance.randrange(1, 40)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    start = chance.randrange(len(changed))
    return bytes(changed[:start]) + chance.randbytes(64) + bytes(changed[start:])


def make_samples(folder: Path, frames: Frames) -> list[bytes]:
    """Files of every kind that is read, large enough for the mark, and a sidecar."""
    for ending in ("mp4", "webm", "gif", "webp", "png"):
        format = "sheet" if ending == "png" else ending
        save_video(frames, folder / f"a.{ending}", fps=8, format=format)
    written(frames, folder / "a.avi", "mpeg4")
    written(frames, folder / "a.mov")
    Image.fromarray(frames[0]).save(folder / "a.jpg")
    names = ("a.mp4", "a.webm", "a.gif", "a.webp", "a.png", "a.avi", "a.mov", "a.jpg")
    return [(folder / name).read_bytes() for name in (*names, "a.webm.c2pa")]


def peak_memory(process: int) -> int:
    """Return the most bytes that a process has held; not those of other tests' children."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def test_no_file_brings_it_down(tmp_path: Path, clean: Frames) -> None:
    *samples, manifest = make_samples(tmp_path, clean[:2])
    chance, path = random.Random(0), tmp_path / "hostile"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A busy machine is no hang: processor time counts.
    with closing(Examiner(seconds=600)) as examiner:
        for number in range(HOSTILE):
            sample = samples[number % len(samples)]
            intact = number % 5 == 4
            path.write_bytes(sample if intact else hostile(sample, chance))
            sidecar_of(path).unlink(missing_ok=True)
            if intact or chance.random() < 0.2:
                sidecar_of(path).write_bytes(hostile(manifest, chance))
            report = examiner.verify(path)
            assert report.code in (0, 3, 4, 5)
            assert report.footage.unfinished == ""
        assert examiner._process is not None
        assert peak_memory(examiner._process.pid) < 2 << 30
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert spent.ru_utime - before.ru_utime < 5 + 2 * HOSTILE


def test_enormous_pictures_are_not_read(tmp_path: Path) -> None:
    Image.new("L", (20_000, 20_000)).save(tmp_path / "big.png")
    assert verify(tmp_path / "big.png").footage.frames == 0
    assert np.isfinite(verify(tmp_path / "big.png").code)
