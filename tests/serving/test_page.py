"""The web page in a real browser, from typing a prompt to a playing video."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serving.live import Held, running, wait_until

from mcm.media import save_video
from mcm.safety.formats import sidecar_of
from mcm.safety.verify import verify
from mcm.serving.keys import read_keys

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SECONDS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        told = "no Chromium on the PATH; as root: apt-get install chromium"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=SECONDS)
        yield browser
        browser.close()


def opened(browser: Any, address: str, faults: list[str] | None = None) -> Any:
    """Return the page on a telephone, with the clips that it shows as it opens."""
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.set_default_timeout(SECONDS)
    if faults is not None:
        page.on("pageerror", lambda error: faults.append(str(error)))
    with page.expect_response(lambda answer: "/run/predict" in answer.url):
        page.goto(address)
    return page


def test_from_a_prompt_to_a_playing_video_by_keyboard(browser: Any, tmp_path: Path) -> None:
    held = Held()
    with running(tmp_path, held.models, page=True) as server:
        faults: list[str] = []
        page = opened(browser, server.address, faults)
        prompt = page.get_by_label("Prompt")
        prompt.fill("a <b>star</b> going up")
        page.get_by_label("Beside its teacher").check()
        page.get_by_label("2", exact=True).check()
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "generate":
                break
        assert page.evaluate("document.activeElement.id") == "generate"
        page.keyboard.press("Enter")
        held.allow(1)
        page.wait_for_selector("#student img[alt='after step 1']")
        held.allow(1)
        page.wait_for_selector("#student video")
        page.wait_for_function("document.querySelector('#student video').currentTime > 0")
        page.wait_for_selector("#teacher video")
        for pane in ("#student", "#teacher"):
            assert " s (text " in page.locator(f"{pane} .clock").inner_text()
        assert page.locator("#student h3").inner_text().startswith("student, 2 steps")
        assert page.locator("#student b", has_text="star").count() == 0, "prompts are escaped"
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        page.wait_for_selector("#gallery li:nth-child(2)")
        links = page.locator("#downloads a")
        assert links.count() == 7
        for link in links.all():
            address = httpx.URL(page.url).join(link.get_attribute("href"))
            assert httpx.get(address, timeout=60).status_code == 200
        assert "mcm generate 'a <b>star</b> going up'" in page.locator(".cm-content").inner_text()
        prompt.fill("")
        page.get_by_role("button", name="Generate").click()
        problem = page.locator("[role=alert]")
        problem.wait_for()
        assert "prompt" in problem.inner_text()
        assert faults == []
        page.close()


def test_length_loop_alpha_and_negative_prompt(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcm.media.matte._LEAST_PLAIN", 0.0)
    monkeypatch.setattr("mcm.media.matte._MOST_NOISE", 999.0)
    with running(tmp_path, page=True) as server:
        page = opened(browser, server.address)
        page.get_by_role("button", name="Length, loop").click()
        page.get_by_label("Length", exact=True).click()
        page.get_by_role("option", name="0.75 s").click()
        page.get_by_label("Loop", exact=True).check()
        page.get_by_label("Transparent background").check()
        page.get_by_label("Negative prompt").fill("blur")
        page.get_by_label("Guidance").fill("2.5")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        page.get_by_role("button", name="Generate").click()
        page.wait_for_function("document.querySelector('#student img.cut')?.naturalWidth > 0")
        command = page.locator(".cm-content").inner_text()
        words = "--guidance 2.5 --size 32x32 --frames 6 --negative-prompt blur --loop --alpha"
        assert f"{words} -o clip.webp" in " ".join(command.split())
        page.close()


def test_the_live_tab_plays_and_frees_its_place(browser: Any, tmp_path: Path) -> None:
    with running(tmp_path, page=True) as server:
        page = opened(browser, server.address)
        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start").click()
        page.wait_for_function("document.querySelector('#live img')?.naturalWidth > 0")
        query = {"prompt": "a fox", "steps": 2, "seconds": 0.1}
        assert httpx.get(f"{server.address}/v1/live", params=query, timeout=60).status_code == 429
        page.get_by_role("button", name="End").click()
        page.wait_for_selector("#live img", state="detached")
        wait_until(
            lambda: (
                httpx.get(f"{server.address}/v1/live", params=query, timeout=60).status_code == 200
            )
        )
        page.close()


def test_the_verify_tab_says_what_the_command_says(browser: Any, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    path = save_video(frames, tmp_path / "a.webm", fps=8, metadata={"model": "<b>one</b>"})
    with running(tmp_path / "serve", page=True) as server:
        page = opened(browser, server.address)
        page.get_by_role("tab", name="Verify").click()
        go, report = page.get_by_role("button", name="Verify"), page.locator("#report textarea")
        read = "([text]) => document.querySelector('#report textarea').value.includes(text)"
        go.click()
        page.wait_for_function(read, arg=["choose one first"])
        page.get_by_label("File", exact=True).set_input_files(path)
        go.click()
        page.wait_for_function(read, arg=["manifest: none"])
        page.get_by_label("Manifest beside it").set_input_files(sidecar_of(path))
        go.click()
        page.wait_for_function(read, arg=["manifest: valid"])
        assert report.input_value() == verify(path).as_text().replace(str(path), "a.webm")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        page.close()


def test_a_clip_whose_teacher_finds_no_place_is_made_and_can_be_cancelled(tmp_path: Path) -> None:
    from mcm.serving.page import Page
    from mcm.serving.page_choices import lengths

    held, visitor = Held(), SimpleNamespace(username=None)
    with running(tmp_path, held.models, queue_limit=1) as server:
        page, service = Page(server.service), server.service
        seconds = lengths(service.models["student"])["value"]
        asked: dict[str, Any] = {"prompt": "a fox", "model": "student", "steps": 1, "seed": 0}
        asked |= {"size": "32x32", "seconds": seconds, "loop": False, "alpha": False}
        asked |= {"avoid": "", "guidance": None, "beside": True, "request": visitor}

        async def follow() -> tuple[Any, Any, int]:
            seen = [parts async for parts in _cancelling(page.generate(**asked))]
            return seen[0], seen[-1], len(seen)

        async def _cancelling(parts: Any) -> Any:
            async for one in parts:
                if one[0] and isinstance(one[0], list):
                    page.cancel(one[0], visitor)  # type: ignore[arg-type]
                    held.allow(1)
                yield one

        with ThreadPoolExecutor(1) as apart:  # the browser's own loop runs in this thread
            first, last, count = apart.submit(asyncio.run, follow()).result()
        (id,) = first[0]
        assert "waits for its turn" in first[1]
        assert "too many clips are waiting" in first[2]
        assert (last[0], "cancelled" in last[1], last[2]) == ([], True, first[2])
        assert count > 1
        job = service.store.get(id, "")
        assert job is not None
        assert job.error_code == "cancelled"


def test_only_generate_is_answered_by_the_queue(tmp_path: Path) -> None:
    from mcm.serving.page import Page

    with running(tmp_path) as server:
        events = Page(server.service).build().config["dependencies"]
    called = [event for event in events if event["backend_fn"]]
    assert len(called) > 5
    assert [event["api_name"] for event in called if event["queue"]] == ["generate"]


def test_visitors_need_a_key_where_clients_do(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\n")
    keys = read_keys(tmp_path / "keys")
    with running(tmp_path, keys=keys, page=True) as server:
        assert httpx.get(f"{server.address}/ui/", timeout=60).status_code == 401
        good = httpx.get(f"{server.address}/ui/", timeout=60, auth=("anyone", "first"))
        assert good.status_code == 200
        assert "Motion Consistency Model" in good.text
