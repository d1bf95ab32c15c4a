"""Who signs: a damaged local signer is told and replaceable; a warning where time is lacking."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.safety.conftest import Frames

from mcm.errors import UserError
from mcm.media import save_video
from mcm.safety import credentials as module
from mcm.safety.credentials import CHAIN, KEY, ROOT, credentials, local_folder
from mcm.safety.inspection import inspect_manifest
from mcm.safety.policy import ProvenanceSection, active_policy

RULES = ProvenanceSection()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", [CHAIN, KEY])
@pytest.mark.parametrize("damage", [cut_off, empty, Path.unlink])
def test_a_damaged_local_signer_can_be_replaced(
    home: Path, tmp_path: Path, clean: Frames, name: str, damage: Callable[[Path], object]
) -> None:
    credentials(RULES)
    damage(local_folder() / name)
    with pytest.raises(UserError, match=rf"{name} .*move the folder .*credentials away"):
        save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert not list(tmp_path.glob("*a.mp4*"))
    local_folder().rename(tmp_path / "old")
    path = save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert inspect_manifest(path, RULES).trust == "this machine"


def test_a_local_signer_that_has_expired_can_be_replaced(
    home: Path, tmp_path: Path, clean: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LongAgo:
        @staticmethod
        def now(_: object) -> datetime:
            return datetime.now(UTC) - timedelta(days=3660)

    with monkeypatch.context() as then:
        then.setattr(module, "datetime", LongAgo)
        credentials(RULES)
    with pytest.raises(UserError, match=r"not valid at time of signing.*move the folder"):
        save_video(clean[:2], tmp_path / "a.mp4", fps=8)


@pytest.mark.parametrize("damage", [cut_off, empty, Path.unlink])
def test_a_damaged_root_makes_no_file_altered(
    home: Path, tmp_path: Path, clean: Frames, damage: Callable[[Path], object]
) -> None:
    path = save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    damage(local_folder() / ROOT)
    report = inspect_manifest(path, RULES)
    assert (report.state, report.trust, report.faults) == ("valid", "untrusted", [])


@pytest.mark.parametrize("folder", [True, False])
def test_a_certificate_of_ones_own_is_not_taken_for_the_local_one(
    home: Path, tmp_path: Path, clean: Frames, policy: Callable[[str], Path], folder: bool
) -> None:
    place = tmp_path / "own.pem"
    if folder:
        place.mkdir(mode=0o700)
    policy(f"provenance:\n  certificate: {place}\n  key: {place}\n")
    with pytest.raises(UserError, match=r"own\.pem cannot be read") as caught:
        save_video(clean[:2], tmp_path / "a.mp4", fps=8)
    assert "move the folder" not in str(caught.value)


@pytest.mark.parametrize(("timestamps", "warnings"), [("null", 1), ("http://a.example", 0)])
def test_a_certificate_without_time_stamps_is_warned_of_once(
    home: Path,
    tmp_path: Path,
    policy: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    timestamps: str,
    warnings: int,
) -> None:
    credentials(RULES)
    pair = [local_folder() / CHAIN, local_folder() / KEY]
    own = tmp_path / "chain.pem", tmp_path / "key.pem"
    for one, copy in zip(pair, own, strict=True):
        one.rename(copy)
    policy(f"provenance:\n  certificate: {own[0]}\n  key: {own[1]}\n  timestamps: {timestamps}\n")
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        credentials(active_policy().provenance)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == warnings
    assert all("provenance.timestamps: not set" in text and str(own[0]) in text for text in told)


def test_the_local_signer_needs_no_warning(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    credentials(RULES)
    assert not caplog.records
