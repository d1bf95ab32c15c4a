"""The folder of keys and log: whole, private, one for all processes, and clear when it fails."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.safety.conftest import Frames

from mcm.errors import UserError
from mcm.media import save_video
from mcm.safety import audit
from mcm.safety.credentials import credentials
from mcm.safety.guard import Refused, check_clip, check_prompt
from mcm.safety.home import read_private, secret, write_private
from mcm.safety.policy import Policy, ProvenanceSection, active_policy

BAD = "a naked woman riding"


@pytest.fixture
def locked(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is there and in which nothing can be made, whoever runs the tests."""
    home.mkdir()
    make, make_folder = os.open, os.mkdir

    def inside(path: Any) -> bool:
        return str(path).startswith(str(home))

    def refused(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if inside(path) and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(path))
        return make(path, flags, *rest, **named)

    def refused_folder(path: Any, *rest: Any, **named: Any) -> None:
        if inside(path) and Path(path) != home:
            raise PermissionError(13, "Permission denied", str(path))
        make_folder(path, *rest, **named)

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(os, "mkdir", refused_folder)
    return home


def test_a_home_that_cannot_be_written_is_named(
    locked: Path, tmp_path: Path, clean: Frames
) -> None:
    attempts: tuple[Callable[[], object], ...] = (
        lambda: secret("audit"),
        lambda: audit.record("written"),
        lambda: credentials(ProvenanceSection()),
        lambda: save_video(clean[:2], tmp_path / "a.mp4", fps=8),
    )
    for attempt in attempts:
        with pytest.raises(UserError, match=r"cannot be made.*Permission denied.*MCM_HOME"):
            attempt()
    assert not (tmp_path / "a.mp4").exists()


def test_what_is_refused_stays_refused_where_nothing_can_be_logged(
    locked: Path, clean: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match=r"nudity.*could not be logged") as caught:
        check_prompt(BAD)
    assert caught.value.categories == ("sexual",)
    monkeypatch.setattr("mcm.safety.frames.score_frames", lambda *_: 0.9)
    with pytest.raises(Refused, match=r"pornographic.*could not be logged"):
        check_clip(clean, "a fox")

    def broken(*_: object) -> float:
        raise OSError("no such model")

    monkeypatch.setattr("mcm.safety.frames.score_frames", broken)
    with pytest.raises(Refused, match=r"could not run.*could not be logged"):
        check_clip(clean, "a fox")


def test_what_is_only_logged_does_not_pass_unlogged(
    locked: Path, policy: Callable[[str], Path]
) -> None:
    policy("moderation: {actions: {sexual: log}}\n")
    with pytest.raises(UserError, match="cannot be made"):
        check_prompt(BAD)


def test_a_secret_needs_no_hard_links(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    assert secret("audit") == secret("audit")
    assert [path.name for path in home.iterdir()] == ["audit.key"]


def test_processes_at_once_share_one_secret(home: Path) -> None:
    code = "from mcm.safety.home import secret; print(secret('audit').hex())"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)
    ]
    told = {run.communicate()[0].decode().strip() for run in runs}
    assert told == {secret("audit").hex()}


def test_a_secret_that_is_cut_off_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcm.safety.home._PAUSE", 0)
    secret("audit")
    (home / "audit.key").write_bytes(b"short")
    with pytest.raises(UserError, match=r"audit\.key is damaged: got 5 bytes, expected 32"):
        secret("audit")


def test_a_full_disk_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, mode: str) -> Any:
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "a.key", b"key")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_private_file_is_its_owners_alone(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.key"
    write_private(path, b"key")
    assert read_private(path) == b"key"
    path.chmod(mode)
    with pytest.raises(UserError, match="chmod 600"):
        read_private(path)


@pytest.mark.parametrize("place", ["MCM_POLICY", "MCM_HOME"])
def test_a_policy_that_cannot_be_read_is_never_passed_over(
    place: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "policy.yaml"
    home.mkdir()
    path.write_text("watermark: {mark: true}\n")
    if place == "MCM_POLICY":
        monkeypatch.setenv(place, str(path))

    def refused(self: Path, *_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    for name in ("lstat", "stat", "read_text"):
        monkeypatch.setattr(Path, name, refused)
    for ask in (active_policy, lambda: check_prompt("a fox")):
        with pytest.raises(UserError, match=r"policy\.yaml: cannot be read \(Permission denied\)"):
            ask()


def test_without_a_policy_the_defaults_count(home: Path) -> None:
    assert active_policy() == Policy()
    home.mkdir()
    (home / "policy.yaml").symlink_to(home / "gone.yaml")
    with pytest.raises(UserError, match="no such file"):
        active_policy()
