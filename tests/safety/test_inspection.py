"""Where a manifest is looked for, and what is said where that cannot be done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2pa
import pytest
from PIL import Image
from tests.safety.conftest import Frames

from mcm.errors import UserError
from mcm.media import save_video
from mcm.safety.credentials import credentials
from mcm.safety.formats import sidecar_of
from mcm.safety.inspection import inspect_manifest
from mcm.safety.policy import ProvenanceSection
from mcm.safety.signer import make_signer
from mcm.safety.verify import verify

RULES = ProvenanceSection()


@pytest.fixture
def webm(tmp_path: Path, clean: Frames) -> Path:
    return save_video(clean[:2], tmp_path / "a.webm", fps=8)


def folder_at(path: Path) -> None:
    path.unlink()
    path.mkdir()


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)


@pytest.mark.parametrize(
    ("make", "why"), [(folder_at, "it is no file"), (too_large, "it is larger than 64 MB")]
)
def test_a_sidecar_that_cannot_be_read_is_not_called_none(
    make: Callable[[Path], None], why: str, webm: Path
) -> None:
    make(sidecar_of(webm))
    report = verify(webm)
    assert report.manifest.state == "unknown"
    assert report.as_dict()["result"] == "not looked at"
    assert f"manifest: NOT LOOKED AT, a.webm.c2pa cannot be read ({why})" in report.as_text()
    assert report.mark is not None
    assert report.code == 5


def test_a_sidecar_that_nobody_may_read(webm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path == sidecar_of(webm):
            raise PermissionError(13, "Permission denied", str(path))
        return honest(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    report = inspect_manifest(webm, RULES)
    assert (report.state, report.reason) == (
        "unknown",
        "a.webm.c2pa cannot be read (Permission denied)",
    )


def test_a_stray_sidecar_changes_nothing_where_the_manifest_is_inside(
    webm: Path, signed: bytes, tmp_path: Path
) -> None:
    path, plain = tmp_path / "a.mp4", tmp_path / "plain.png"
    path.write_bytes(signed)
    Image.new("RGB", (8, 8)).save(plain)
    for stray in (b"", b"garbage", sidecar_of(webm).read_bytes()):
        sidecar_of(path).write_bytes(stray)
        assert inspect_manifest(path, RULES).state == "valid"
    sidecar_of(path).unlink()
    sidecar_of(path).mkdir()
    assert inspect_manifest(path, RULES).state == "valid"
    sidecar_of(plain).write_bytes(b"garbage")
    assert inspect_manifest(plain, RULES).state == "absent"
    sidecar_of(plain).write_bytes(sidecar_of(webm).read_bytes())
    assert inspect_manifest(plain, RULES).state == "altered"


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_a_file_whose_head_was_changed_is_altered(
    ending: str, tmp_path: Path, clean: Frames
) -> None:
    format = "sheet" if ending == "png" else ending
    path = save_video(clean[:2], tmp_path / f"a.{ending}", fps=8, format=format)
    content = path.read_bytes()
    for head in (b"x" * 16, b"", b"x" + content[:16]):
        path.write_bytes(head + content[16:])
        assert inspect_manifest(path, RULES).state == "altered"


def test_formats_that_are_not_read_are_not_called_without_a_manifest(
    tmp_path: Path, clean: Frames
) -> None:
    plain, path = tmp_path / "plain.tiff", tmp_path / "a.tiff"
    Image.fromarray(clean[0]).save(plain)
    assert inspect_manifest(plain, RULES).state == "absent"
    action = {"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/x"}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    claims: dict[str, Any] = {"claim_generator_info": [{"name": "x"}], "assertions": [actions]}
    settings = {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"verify_after_sign": False},
    }
    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    with (
        c2pa.Builder(claims, context=context) as builder,
        plain.open("rb") as content,
        path.open("w+b") as target,
    ):
        builder.sign(make_signer(credentials(RULES), RULES), "image/tiff", content, target)
    report = inspect_manifest(path, RULES)
    assert report.state == "unknown"
    assert report.reason == "it is not looked for in files of the type image/tiff"


def test_words_about_manifests_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("jumb 1234 jumdc2pa, jumdc2ma, mcm seal sha256")
    assert inspect_manifest(tmp_path / "a.txt", RULES).state == "absent"


@pytest.mark.parametrize("content", ["nothing", "", "# none yet\n"])
def test_anchors_that_are_no_certificates_are_the_policys_fault(
    content: str, signed: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(signed)
    (tmp_path / "anchors.pem").write_text(content)
    rules = ProvenanceSection(anchors=(tmp_path / "anchors.pem",))
    with pytest.raises(UserError, match=r"provenance\.anchors: .*anchors\.pem cannot be used"):
        inspect_manifest(tmp_path / "a.mp4", rules)
