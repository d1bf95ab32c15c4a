"""`POST /v1/verify`: the report of `mcm verify`, of any file, behind the same key."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.serving.live import running

from mcm.media import save_video
from mcm.safety.verify import verify
from mcm.serving.keys import read_keys
from mcm.serving.serve import Server
from mcm.serving.verification import MOST_FILE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("serve")) as server:
        yield server


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed and marked clip that is larger than any other request may be."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3), dtype=np.uint8)
    path = save_video(noise, tmp_path_factory.mktemp("clip") / "a.mp4", fps=8)
    assert path.stat().st_size > 2**18
    return path


def ask(server: Server, content: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.address}/v1/verify", content=content, headers=headers, timeout=120)


def test_it_says_what_the_command_says(server: Server, signed: Path) -> None:
    told = ask(server, signed.read_bytes()).json()
    assert told == {**verify(signed).as_dict(), "file": "body"}
    assert told["manifest"]["state"] == "valid"


def test_a_changed_and_a_foreign_file(server: Server, signed: Path) -> None:
    changed = bytearray(signed.read_bytes())
    changed[len(changed) // 2] ^= 1
    assert ask(server, bytes(changed)).json()["result"] == "altered"
    for content in (b"", b"hello", changed[:20]):
        assert ask(server, bytes(content)).json()["result"] == "nothing found"


def test_a_manifest_beside_the_file(server: Server, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    content = save_video(frames, tmp_path / "a.webm", fps=8).read_bytes()
    manifest = (tmp_path / "a.webm.c2pa").read_bytes()

    def send(**parts: bytes) -> httpx.Response:
        return httpx.post(f"{server.address}/v1/verify", files=parts, timeout=120)

    assert send(file=content, c2pa=manifest).json()["manifest"]["state"] == "valid"
    assert send(file=content).json()["manifest"]["state"] == "absent"
    assert send(file=content[:-1] + b"x", c2pa=manifest).json()["result"] == "altered"
    for parts, problem in (({"c2pa": manifest}, "file: missing"), ({"x": b""}, "x: unknown")):
        answer = send(**parts)
        assert answer.status_code == 400
        assert problem in answer.json()["error"]["message"]


def test_the_answer_for_readers(server: Server, signed: Path) -> None:
    told = ask(server, signed.read_bytes(), accept="text/plain").text
    assert told == verify(signed).as_text().replace(str(signed), "body")


def test_larger_files_are_refused(server: Server) -> None:
    assert ask(server, b"\0" * (MOST_FILE + 1)).status_code == 413


def test_it_needs_the_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\n")
    with running(tmp_path / "serve", keys=read_keys(tmp_path / "keys")) as server:
        assert ask(server, b"hello").status_code == 401
