"""The live endpoint: frames come as parts while more are made, for one viewer at a time."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.sampling.fake import FRAMES, SIDE
from tests.serving.live import fake_models, running, wait_until

from mcm.serving.live import Live, LiveBusyError, LiveRequest
from mcm.serving.serve import Server

FPS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("serve")) as server:
        yield server


def frames_of(body: bytes) -> list[np.ndarray]:
    assert body.endswith(b"--frame--\r\n")
    parts = body.split(b"--frame\r\n")[1:]
    images = [part.split(b"\r\n\r\n", 1)[1] for part in parts]
    return [np.asarray(Image.open(io.BytesIO(image))) for image in images]


def watch(server: Server, **query: object) -> httpx.Response:
    values = {"prompt": "a fox", "steps": 2, **query}
    return httpx.get(f"{server.address}/v1/live", params=values, timeout=60)  # type: ignore[arg-type]


def test_a_stream_goes_on_beyond_a_window_and_ends_when_told(server: Server) -> None:
    answer = watch(server, seconds=1.25)
    assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
    frames = frames_of(answer.content)
    assert len(frames) == round(1.25 * FPS) > 2 * FRAMES
    assert {frame.shape for frame in frames} == {(8 * SIDE, 8 * SIDE, 3)}
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1, "it moves"


def test_frames_come_one_by_one_and_no_faster_than_the_clip_plays(server: Server) -> None:
    url, query = f"{server.address}/v1/live", {"prompt": "a fox", "seconds": 1.5}
    with httpx.stream("GET", url, params=query, timeout=60) as answer:
        times = [time.monotonic() for chunk in answer.iter_raw() if b"image/jpeg" in chunk]
    assert len(times) > 1
    assert times[-1] - times[0] >= 1.5 - 2 / FPS


def test_the_same_seed_is_the_same_stream(server: Server) -> None:
    one, two, other = (watch(server, seconds=0.6, seed=seed).content for seed in (3, 3, 4))
    assert one == two
    assert one != other


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": "a\x07"}, 400, "control character"),
        ({"steps": 1}, 400, "steps"),
        ({"steps": 30}, 400, "30 sampling steps cannot be chosen among 20"),
        ({"seconds": 0}, 400, "seconds"),
        ({"seconds": 1e9}, 400, "seconds"),
        ({"overlap": 1000}, 400, "overlap: got 1000, expected 1 to 2"),
        ({"model": "teacher"}, 400, "is a teacher"),
        ({"model": "nobody"}, 400, "not served here"),
        ({"size": "9999x9999"}, 400, "size"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_wrong_requests_are_a_clear_400(
    server: Server, query: dict[str, object], status: int, message: str
) -> None:
    answer = watch(server, **query)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_one_viewer_at_a_time_and_the_place_is_free_when_he_leaves(server: Server) -> None:
    url, query = f"{server.address}/v1/live", {"prompt": "a fox", "seconds": 3600.0}
    with httpx.stream("GET", url, params=query, timeout=60) as first:
        chunks = first.iter_raw()  # to let it go would close the connection
        next(chunks)
        second = httpx.get(url, params=query | {"seconds": 0.1}, timeout=60)
        assert (second.status_code, second.headers["retry-after"]) == (429, "10")
        job = httpx.post(
            f"{server.address}/v1/videos", json={"prompt": "a fox", "steps": 1}, timeout=60
        ).json()
        wait_until(
            lambda: (
                httpx.get(f"{server.address}/v1/videos/{job['id']}", timeout=60).json()["status"]
                == "completed"
            )
        )
    wait_until(lambda: watch(server, seconds=0.1).status_code == 200)


def test_a_viewer_who_never_read_a_frame_does_not_block_the_place(server: Server) -> None:
    live = Live(server.service.config, fake_models())
    request = LiveRequest(prompt="a fox")
    broadcast = live.open(request, "me")
    with pytest.raises(LiveBusyError):
        live.open(request, "me")
    del broadcast
    live.open(request, "me")


def test_only_its_owner_ends_a_stream(server: Server) -> None:
    live = Live(server.service.config, fake_models())
    broadcast = live.open(LiveRequest(prompt="a fox"), "me")
    live.end("another")
    assert not broadcast.is_over
    live.end("me")
    assert broadcast.is_over
    live.open(LiveRequest(prompt="a fox"), "another")


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-origin", 200)])
def test_pages_of_other_sites_cannot_make_the_server_work(
    server: Server, site: str, status: int
) -> None:
    answer = httpx.get(
        f"{server.address}/v1/live",
        params={"prompt": "a fox", "seconds": 0.1},
        headers={"sec-fetch-site": site},
        timeout=60,
    )
    assert answer.status_code == status


def test_stopping_ends_the_stream(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        url, query = f"{server.address}/v1/live", {"prompt": "a fox", "seconds": 3600}
        with httpx.stream("GET", url, params=query, timeout=60) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            server.should_exit = True
            assert b"".join(chunks).endswith(b"--frame--\r\n")
