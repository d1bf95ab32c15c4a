"""The HTTP API of a real server of fake models: bodies, keys, other sites, events, limits."""

import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving.live import Held, SlowWriting, running, wait_until

from mcm.media import FORMATS
from mcm.sampling.samplers import SAMPLERS
from mcm.serving import clips as clip_module
from mcm.serving.body import MOST_UPLOAD
from mcm.serving.keys import read_keys
from mcm.serving.serve import Server

OK = {"prompt": "a fox", "steps": 1, "seed": 7}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("serve")) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=60) as client:
        yield client


def events_of(http: httpx.Client, id: str) -> list[tuple[str, Any]]:
    with http.stream("GET", f"/v1/videos/{id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(answer.iter_text()).strip().split("\n\n")
    parts = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [(part["event"], json.loads(part["data"])) for part in parts if "event" in part]


def completed(http: httpx.Client, id: str) -> dict[str, Any]:
    wait_until(lambda: http.get(f"/v1/videos/{id}").json()["status"] == "completed")
    video: dict[str, Any] = http.get(f"/v1/videos/{id}").json()
    return video


@pytest.mark.parametrize("form", ["json", "data"])
def test_bodies_are_json_or_forms(http: httpx.Client, form: str) -> None:
    values = OK | {"guidance": 2.5, "negative_prompt": "blur", "seconds": "0.25", "size": "40x32"}
    video = http.post("/v1/videos", **{form: values}).json()  # type: ignore[arg-type]
    video = completed(http, video["id"])
    assert {name: video[name] for name in values} == values
    assert video["frames"] == 2
    assert video["settings"]["sampler"] == "consistency"
    assert set(video["timings"]) == {"text", "network", "decode"}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"prompt": "\\ud800"}', "application/json", 400),
        (b'{"prompt": "\xff"}', "application/json", 400),
        (b'{"prompt": "a", "seed": 1e999}', "application/json", 400),
        (b'{"prompt": "a", "steps": "4"}', "application/json", 400),
        (b'{"prompt": "a", "\\u202e\\ud83e": 4}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"prompt=f\xe4llt", "application/x-www-form-urlencoded", 400),
        (b"prompt=f%E4llt", "application/x-www-form-urlencoded", 400),
        (b'{"prompt": "a fox", "steps": 30}', "application/json", 400),
        (b"prompt=a", "text/plain", 415),
        (b"--x", "multipart/form-data; boundary=x", 400),
        (b"--x", "multipart/form-data", 400),
        (b"x" * 300_000, "application/json", 413),
    ],
)
def test_broken_bodies_are_a_clear_4xx(
    http: httpx.Client, body: bytes, kind: str, status: int
) -> None:
    answer = http.post("/v1/videos", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    if status != 413:
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]


PLAY_LIST = b"ffconcat version 1.0\nfile /etc/hostname\n"


@pytest.mark.parametrize(
    ("file", "fields", "told"),
    [
        (("in.mp4", PLAY_LIST), {}, "input_reference: corrupt"),
        (("in.mp4", b""), {}, "input_reference: zero-length"),
        (("in.png", b"GIF89a"), {}, "input_reference: corrupt"),
        (("../../in.exe", b"MZ"), {}, "input_reference: got the ending '.exe'"),
        (("in.png", b""), {"loop": "true"}, "loop, sampler: an edit"),
        (("in.png", b""), {"strength": "0"}, "strength: "),
        (("in.png", b""), {"strength": "0.5", "steps": "30"}, "steps: 30 sampling steps"),
        (("in.png", b""), {"model": "teacher"}, "model: teacher is a teacher"),
    ],
)
def test_uploads_that_cannot_be_edited_are_a_clear_400(
    http: httpx.Client, file: tuple[str, bytes], fields: dict[str, str], told: str
) -> None:
    answer = http.post(
        "/v1/videos", data={"prompt": "a fox"} | fields, files={"input_reference": file}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(told)


def test_a_file_can_come_only_where_it_belongs(http: httpx.Client) -> None:
    for body in (
        {"data": {"prompt": "a fox", "input_reference": "text"}, "files": {}},
        {"data": {"prompt": "a fox"}, "files": {"mask": ("in.png", b"a")}},
        {"json": {"prompt": "a fox", "input_reference": "text"}},
        {"json": {"prompt": "a fox", "strength": 0.5}},
    ):
        answer = http.post("/v1/videos", **body)  # type: ignore[arg-type]
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_long_uploads_are_413(http: httpx.Client) -> None:
    big = {"input_reference": ("in.mp4", bytes(MOST_UPLOAD))}
    assert http.post("/v1/videos", data={"prompt": "a fox"}, files=big).status_code == 413


@pytest.mark.parametrize(
    "path", ["/v1/videos/none", "/v1/nothing", "/v1/models/none", "/v1/videos?after=none"]
)
def test_what_is_not_there_is_404(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "name", ["..%2f..%2fetc%2fpasswd", "%00", "a%ff", ".%2e", "%F0%9F%A6%8A", "a" * 999, "..\\x"]
)
@pytest.mark.parametrize("rest", ["", "/content", "/events"])
def test_hostile_names_lead_nowhere(http: httpx.Client, name: str, rest: str) -> None:
    assert http.get(f"/v1/videos/{name}{rest}").status_code in (400, 404)


def test_only_finished_clips_can_be_downloaded(tmp_path: Path) -> None:
    held = Held()
    with (
        running(tmp_path, held.models) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
    ):
        id = http.post("/v1/videos", json=OK).json()["id"]
        answer = http.get(f"/v1/videos/{id}/content")
        assert (answer.status_code, "nothing to download" in answer.text) == (400, True)
        held.allow(1)
        completed(http, id)
        assert http.get(f"/v1/videos/{id}/content?format=avi").status_code == 400
        part = http.get(f"/v1/videos/{id}/content", headers={"range": "bytes=0-9"})
        assert (part.status_code, len(part.content)) == (206, 10)


def test_file_names_are_made_of_the_prompt_safely(http: httpx.Client) -> None:
    hostile = OK | {"prompt": '../../"x"; rm -rf / 狐'}
    id = http.post("/v1/videos", json=hostile).json()["id"]
    completed(http, id)
    header = http.get(f"/v1/videos/{id}/content").headers["content-disposition"]
    assert header == "attachment; filename*=utf-8''x-rm-rf-%E7%8B%90-7.mp4"


@pytest.mark.parametrize(
    "path",
    ["/health", "/metrics", "/v1/models", "/v1/models/teacher", "/v1/videos", "", "/content"],
)
def test_head_tells_what_get_would(http: httpx.Client, path: str) -> None:
    if path in ("", "/content"):
        id = http.post("/v1/videos", json=OK).json()["id"]
        completed(http, id)
        path = f"/v1/videos/{id}{path}"
    told, got = http.head(path), http.get(path)
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["content-type"] == got.headers["content-type"]
    if path not in ("/health", "/metrics"):
        assert told.headers["content-length"] == got.headers["content-length"]


def test_downloads_of_one_clip_have_different_names(http: httpx.Client) -> None:
    id = http.post("/v1/videos", json=OK).json()["id"]
    completed(http, id)
    names = [
        http.get(f"/v1/videos/{id}/content", params=query).headers["content-disposition"]
        for query in (
            *({"format": format} for format in FORMATS),
            *({"variant": variant} for variant in ("thumbnail", "c2pa")),
        )
    ]
    assert len(set(names)) == len(names)
    assert 'attachment; filename="a-fox-7-sheet.zip"' in names


def test_health_and_finished_files_wait_for_no_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, write = threading.Event(), clip_module._write_format
    with (
        running(tmp_path) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
        ThreadPoolExecutor(45) as pool,
    ):
        ids = [http.post("/v1/videos", json=OK | {"seed": n}).json()["id"] for n in range(3)]
        for id in ids:
            completed(http, id)

        def slowly(folder: Path, kind: str) -> None:
            assert go_on.wait(60)
            write(folder, kind)

        monkeypatch.setattr(clip_module, "_write_format", slowly)
        wanted = [f"{server.address}/v1/videos/{ids[n % 3]}/content?format=gif" for n in range(45)]
        asked = [pool.submit(httpx.get, address, timeout=60) for address in wanted]
        try:
            assert not wait((*asked,), timeout=2, return_when=FIRST_COMPLETED).done
            assert http.get("/health", timeout=5).status_code == 200
            assert http.get(f"/v1/videos/{ids[0]}/content", timeout=5).status_code == 200
        finally:
            go_on.set()
        assert {one.result().status_code for one in asked} == {200}


def test_a_clip_deleted_during_its_download_is_404(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        running(tmp_path) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
        ThreadPoolExecutor(2) as pool,
    ):
        id = http.post("/v1/videos", json=OK).json()["id"]
        completed(http, id)
        slow = SlowWriting(monkeypatch)
        address = f"{server.address}/v1/videos/{id}"
        asked = pool.submit(httpx.get, f"{address}/content?format=sheet", timeout=60)
        assert slow.begun.wait(60)
        deleted = pool.submit(httpx.delete, address, timeout=60)
        wait_until(lambda: http.get(f"/v1/videos/{id}").status_code == 404)
        slow.go_on.set()
        assert deleted.result().status_code == 200
        assert asked.result().status_code in (200, 404)
        assert list((tmp_path / "clips").iterdir()) == []


def test_broken_forms_leave_no_line_in_the_log(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert http.post("/v1/videos", content=b"--y\r\nz", headers=kind).status_code == 400
    assert [record for record in caplog.records if record.name.startswith("python_multi")] == []


def test_events_tell_every_step_and_the_end(tmp_path: Path) -> None:
    held = Held()
    with (
        running(tmp_path, held.models) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
    ):
        id = http.post("/v1/videos", json=OK | {"steps": 2, "preview": True}).json()["id"]
        wait_until(lambda: http.get(f"/v1/videos/{id}").json()["status"] == "in_progress")
        held.allow(2)
        events = events_of(http, id)
        assert events[-1][0] == "video.completed"
        assert events[-1][1]["progress"] == 100
        told = {event["step"]: event for name, event in events if name == "video.progress"}
        assert set(told) >= {2}
        assert told[2]["progress"] == 66
        assert told[2]["preview"].startswith("data:image/webp;base64,UklGR")
        assert events_of(http, id) == [("video.completed", events[-1][1])]


def test_cancelled_jobs_fail_with_that_code(tmp_path: Path) -> None:
    held = Held()
    with (
        running(tmp_path, held.models) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
    ):
        id = http.post("/v1/videos", json=OK).json()["id"]
        video = http.post(f"/v1/videos/{id}/cancel").json()
        assert (video["status"], video["error"]["code"]) == ("failed", "cancelled")
        assert events_of(http, id)[0][0] == "video.failed"
        held.allow(1)


def test_a_full_queue_is_429_with_retry_after(tmp_path: Path) -> None:
    held = Held()
    with (
        running(tmp_path, held.models, queue_limit=1) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
    ):
        assert http.post("/v1/videos", json=OK).status_code == 200
        answer = http.post("/v1/videos", json=OK)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["type"] == "rate_limit_error"
        held.allow(1)


def test_the_same_idempotency_key_is_the_same_job(http: httpx.Client) -> None:
    ids = {
        http.post("/v1/videos", json=OK, headers={"idempotency-key": "one"}).json()["id"]
        for _ in range(3)
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    "change",
    [{"json": OK | {"prompt": "a star"}}, {"json": OK | {"seed": 8}}, {"json": OK | {"steps": 2}}],
)
def test_an_idempotency_key_of_another_request_is_409(http: httpx.Client, change: Any) -> None:
    headers = {"idempotency-key": json.dumps(change)}
    id = http.post("/v1/videos", json=OK, headers=headers).json()["id"]
    answer = http.post("/v1/videos", headers=headers, **change)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert http.post("/v1/videos", data=OK, headers=headers).json()["id"] == id


def test_an_empty_idempotency_key_is_none(http: httpx.Client) -> None:
    ids = {
        http.post("/v1/videos", json=OK, headers={"idempotency-key": empty}).json()["id"]
        for empty in ("", "")
    }
    assert len(ids) == 2


def test_what_is_kept_for_ever_never_expires(tmp_path: Path) -> None:
    with (
        running(tmp_path, keep_hours=math.inf) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
    ):
        completed(http, http.post("/v1/videos", json=OK).json()["id"])
        assert [video["expires_at"] for video in http.get("/v1/videos").json()["data"]] == [None]


@pytest.mark.parametrize("prompt", [b"ein Fuchs f\xc3\xa4llt", b"ein Fuchs f%C3%A4llt"])
def test_forms_are_utf_8(http: httpx.Client, prompt: bytes) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = http.post("/v1/videos", content=b"steps=1&prompt=" + prompt, headers=kind)
    assert answer.json()["prompt"] == "ein Fuchs fällt"


def test_keys_are_asked_for_and_part_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\nsecond\n")
    keys = read_keys(tmp_path / "keys")
    with (
        running(tmp_path, keys=keys) as server,
        httpx.Client(base_url=server.address, timeout=60) as http,
    ):
        for path in ("/v1/videos", "/v1/models", "/metrics"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert http.get("/health").status_code == 200
        first, second = ({"authorization": f"Bearer {key}"} for key in ("first", "second"))
        id = http.post("/v1/videos", json=OK, headers=first).json()["id"]
        assert http.get(f"/v1/videos/{id}", headers=first).status_code == 200
        for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/content")):
            answer = http.request(method, f"/v1/videos/{id}{rest}", headers=second)
            assert answer.status_code == 404
        assert http.get("/v1/videos", headers=second).json()["data"] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_pages_of_other_sites_are_shut_out(
    http: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert http.post("/v1/videos", json=OK, headers=headers).status_code == status


def test_metrics_count_jobs_and_requests(http: httpx.Client) -> None:
    completed(http, http.post("/v1/videos", json=OK).json()["id"])
    text = http.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    assert float(values['mcm_jobs_finished_total{model="student",status="completed"}']) >= 1
    assert float(values['mcm_requests_total{code="200",method="POST",route="/v1/videos"}']) >= 1
    assert "mcm_job_seconds_bucket" in text
    assert 'mcm_jobs{status="queued"}' in values


def test_the_document_names_our_fields_and_no_422(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    create = document["paths"]["/v1/videos"]["post"]
    for kind in ("application/json", "multipart/form-data"):
        fields = create["requestBody"]["content"][kind]["schema"]["properties"]
        assert {"prompt", "seconds", "size", "model", "steps", "seed", "format"} <= set(fields)
        assert all("description" in field for field in fields.values())
    assert fields["sampler"]["anyOf"][0]["enum"] == list(SAMPLERS)
    assert fields["input_reference"]["format"] == "binary"
    statuses = {
        s for path in document["paths"].values() for o in path.values() for s in o["responses"]
    }
    assert "422" not in statuses


def test_stopping_ends_event_streams(tmp_path: Path) -> None:
    held = Held()
    with running(tmp_path, held.models) as server:
        http = httpx.Client(base_url=server.address, timeout=60)
        id = http.post("/v1/videos", json=OK).json()["id"]
        with http.stream("GET", f"/v1/videos/{id}/events") as answer:
            server.should_exit = True
            assert "video.progress" in "".join(answer.iter_text())
        held.allow(1)
