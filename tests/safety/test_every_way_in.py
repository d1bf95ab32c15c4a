"""The same policy for the command line, Python, the HTTP API and the page."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.sampling.fake import make_model
from tests.serving.live import running, wait_until

from mcm.cli import main
from mcm.safety import frames
from mcm.safety.guard import Refused
from mcm.safety.search import find
from mcm.serving.errors import REFUSED
from mcm.serving.serve import Server

BAD, FOX = "a naked woman riding", "a fox moving left"
REASON = "refused by the policy (nudity and sexual acts"


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "serve") as server:
        yield server


def by_command_line(_: Server, prompt: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["generate", prompt, "--model", "/nowhere"])
    return f"{caught.value.code}"


def by_python(_: Server, prompt: str) -> str:
    try:
        make_model("student").generate(prompt, steps=1)
    except Refused as error:
        return str(error)
    return "made"


def by_api(server: Server, prompt: str) -> str:
    body = {"prompt": prompt, "steps": 1}
    answer = httpx.post(f"{server.address}/v1/videos", json=body, timeout=60)
    if answer.status_code != 400:
        return "made"
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (REFUSED, "prompt")
    return str(error["message"])


def by_page(server: Server, prompt: str) -> str:
    pytest.importorskip("gradio")
    from mcm.serving.page import Page
    from mcm.serving.page_choices import lengths

    async def first() -> Any:
        visitor: Any = SimpleNamespace(username=None)
        seconds = lengths(server.service.models["student"])["value"]
        return await anext(
            Page(server.service).generate(
                prompt=prompt,
                model="student",
                steps=1,
                seed=0,
                size="32x32",
                seconds=seconds,
                loop=False,
                alpha=False,
                avoid="",
                guidance=None,
                beside=False,
                request=visitor,
            )
        )

    ids, pane, *_ = asyncio.run(first())
    return "made" if ids else str(pane)


@pytest.mark.parametrize("way", [by_python, by_api, by_page])
def test_a_prompt_is_refused_with_the_same_reason(
    way: Callable[[Server, str], str], server: Server, home: Path
) -> None:
    assert REASON in way(server, BAD)
    assert way(server, FOX) == "made"
    log = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert log[0]["event"] == "prompt refused"


def test_the_command_line_refuses_before_it_loads_anything(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert by_command_line(server, BAD) == "2"
    assert REASON in capsys.readouterr().err
    assert by_command_line(server, FOX) == "2"
    assert "/nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("way", [by_python, by_api, by_page])
def test_a_policy_that_allows_counts_everywhere(
    way: Callable[[Server, str], str], server: Server, policy: Callable[[str], Path]
) -> None:
    policy("moderation: {actions: {sexual: allow}}\n")
    assert way(server, BAD) == "made"


def test_a_refused_prompt_is_kept_nowhere(server: Server, tmp_path: Path) -> None:
    assert REASON in by_api(server, BAD)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"jobs.sqlite", "audit.jsonl"} <= {path.name for path in kept}
    assert not [path for path in kept if b"naked" in path.read_bytes()]


def test_frames_are_refused_over_http_as_well(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "score_frames", lambda *_: 0.9)
    with httpx.Client(base_url=server.address, timeout=60) as http:
        for preview in (False, True):
            body = {"prompt": FOX, "steps": 1, "preview": preview}
            video = http.post("/v1/videos", json=body).json()
            wait_until(lambda: http.get(f"/v1/videos/{video['id']}").json()["status"] == "failed")  # noqa: B023
            error = http.get(f"/v1/videos/{video['id']}").json()["error"]
            assert error["code"] == REFUSED
            assert "frames look pornographic" in error["message"]


def test_previews_bear_the_mark(home: Path) -> None:
    import io

    import numpy as np
    import torch
    from PIL import Image

    from mcm.serving.worker import _preview

    class Backbone:
        spec = SimpleNamespace(temporal_factor=1, fps=8)

        def decode_frames(self, latents: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
            ramp = torch.linspace(-0.6, 0.6, 128).expand(1, indices.shape[1], 3, 128, 128)
            return ramp.clone()

    model: Any = SimpleNamespace(backbone=Backbone())
    order: Any = SimpleNamespace(prompt=FOX)
    with Image.open(io.BytesIO(_preview(model, torch.zeros(4, 8, 16, 16), "x", order))) as image:
        assert find(np.asarray(image.convert("RGB"))[None]) is not None
