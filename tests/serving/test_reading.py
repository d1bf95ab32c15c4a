"""Files that go while they are sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi import HTTPException
from starlette.types import Message

from mcm.serving.reading import Download

CONTENT = bytes(range(256)) * 1024


async def _received() -> Message:
    return {"type": "http.disconnect"}


def _sent(file: Path, headers: list[tuple[bytes, bytes]], method: str = "GET") -> list[Message]:
    """Return what is sent of a file that is deleted as soon as the answer begins."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        file.unlink(missing_ok=True)
        sent.append(message)

    asgi = {"spec_version": "2.4"}
    scope = {"type": "http", "method": method, "headers": headers, "asgi": asgi}
    asyncio.run(Download(file)(scope, _received, send))
    return sent


def _body(sent: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "clip.mp4"
    file.write_bytes(CONTENT)
    return file


def test_a_file_deleted_while_it_is_sent_arrives_whole(file: Path) -> None:
    sent = _sent(file, [])
    assert sent[0]["status"] == 200
    assert _body(sent) == CONTENT
    assert not file.exists()


def test_a_part_of_a_file_deleted_while_it_is_sent_arrives_whole(file: Path) -> None:
    sent = _sent(file, [(b"range", b"bytes=1000-200000")])
    assert sent[0]["status"] == 206
    assert _body(sent) == CONTENT[1000:200001]


def test_head_sends_the_length_alone(file: Path) -> None:
    sent = _sent(file, [], "HEAD")
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(CONTENT)).encode()
    assert _body(sent) == b""


def test_a_file_deleted_before_is_404(file: Path) -> None:
    file.unlink()
    with pytest.raises(HTTPException) as caught:
        _sent(file, [])
    assert caught.value.status_code == 404
