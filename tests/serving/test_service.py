"""The service without HTTP: the worker, cancelling, limits, stopping, starting again."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.serving.live import Held, SlowWriting, fake_models, wait_until

from mcm.media import read_metadata
from mcm.serving import clips as clip_module
from mcm.serving.config import ServeConfig
from mcm.serving.feed import News
from mcm.serving.intake import VideoRequest
from mcm.serving.room import Room
from mcm.serving.service import Service
from mcm.serving.store import COMPLETED, FAILED, QUEUED, RUNNING, QueueFullError
from mcm.serving.tables import Job
from mcm.serving.worker import StoppedError, TimeLimitError, Worker


@contextmanager
def serving(folder: Path, models: Any = None, **changes: Any) -> Iterator[Service]:
    config = ServeConfig(models=("student",), folder=folder, **changes)
    service = Service(config, models or fake_models(), Room(folder))
    service.start()
    try:
        yield service
    finally:
        service.stop()


def ask(service: Service, **values: Any) -> Job:
    values = {"prompt": "a fox", "seed": 7, **values}
    return service.submit(VideoRequest(**values), "me")


def look(service: Service, job: Job) -> Job:
    found = service.store.get(job.id, "me")
    assert found is not None
    return found


def finish(service: Service, job: Job) -> Job:
    wait_until(lambda: look(service, job).status in (COMPLETED, FAILED))
    return look(service, job)


def clips(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "clips").iterdir())


def test_a_job_becomes_a_clip_in_its_own_folder(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        job = finish(service, ask(service, steps=2))
        assert job.status == COMPLETED
        assert clips(tmp_path) == [job.id]
        path = service.file(job, "gif")
        assert path.parent == tmp_path / "clips" / job.id
        assert read_metadata(path) == job.facts["settings"]  # type: ignore[index]


def test_waiting_jobs_of_one_kind_are_made_together(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models, batch_size=3) as service:
        first = ask(service, steps=1)
        wait_until(lambda: look(service, first).status == RUNNING)
        others = [ask(service, steps=1, seed=seed) for seed in range(4)]
        held.allow(3)
        assert {finish(service, job).status for job in [first, *others]} == {COMPLETED}
        assert held.batches == [1, 3, 1]


def test_progress_is_told_step_by_step_with_previews(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models) as service:
        job = ask(service, steps=3, preview=True)

        async def follow() -> list[News]:
            seen = []
            async for news in service.watch(job):
                seen.append(news)
                if news.status == RUNNING:
                    held.allow(1)
            return seen

        seen = asyncio.run(follow())
        steps = [news for news in seen if news.step]
        assert [news.step for news in steps] == [1, 2, 3]
        assert all(news.preview and news.preview.startswith(b"RIFF") for news in steps)
        assert [news.percent for news in steps] == [25, 50, 75]
        assert seen[-1].status == COMPLETED
        assert service.news(look(service, job)).percent == 100
        assert asyncio.run(follow()) == [News(COMPLETED)]


def test_a_cancelled_job_stops_at_the_next_step(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models) as service:
        running, waiting = ask(service, steps=8), ask(service, steps=2)
        wait_until(lambda: look(service, running).status == RUNNING)
        service.cancel(running)
        service.cancel(waiting)
        held.allow(1)
        last = ask(service, steps=1)
        held.allow(1)
        assert finish(service, last).status == COMPLETED
        assert look(service, running).error_code == "cancelled"
        assert look(service, waiting).error_code == "cancelled"
        assert held.batches == [1, 1]
        assert clips(tmp_path) == [last.id]


def test_cancelling_one_of_a_batch_leaves_the_others(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models) as service:
        first = ask(service, steps=1)
        wait_until(lambda: look(service, first).status == RUNNING)
        pair = [ask(service, steps=2, seed=seed) for seed in (1, 2)]
        held.allow(1)
        wait_until(lambda: look(service, pair[0]).status == RUNNING)
        service.delete(pair[0])
        held.allow(2)
        assert finish(service, pair[1]).status == COMPLETED
        assert service.store.get(pair[0].id, "me") is None
        wait_until(lambda: clips(tmp_path) == sorted([first.id, pair[1].id]))


def test_the_time_limit_ends_a_job(tmp_path: Path) -> None:
    with serving(tmp_path, time_limit=1e-9) as service:
        assert finish(service, ask(service)).error_code == "time_limit_exceeded"
        assert clips(tmp_path) == []


def test_a_failing_job_does_not_spoil_its_batch(tmp_path: Path) -> None:
    held = Held()
    backbone: Any = held.models["student"].model.backbone
    encode = backbone.encode_prompt

    def fail_for_stars(prompts: list[str]) -> Any:
        if "a star" in prompts:
            raise RuntimeError("no stars")
        return encode(prompts)

    backbone.encode_prompt = fail_for_stars
    with serving(tmp_path, held.models) as service:
        first = ask(service, steps=1)
        wait_until(lambda: look(service, first).status == RUNNING)
        star, fox = ask(service, steps=1, prompt="a star"), ask(service, steps=1)
        held.allow(2)
        assert finish(service, fox).status == COMPLETED
        assert finish(service, star).error_message == "internal error of the server: RuntimeError"


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models, queue_limit=2) as service:
        jobs = [ask(service, steps=1) for _ in range(2)]
        with pytest.raises(QueueFullError):
            ask(service)
        assert 1 <= service.retry_after <= 60
        held.allow(2)
        for job in jobs:
            finish(service, job)
        ask(service, model="teacher", steps=1)


def test_stopping_finishes_what_runs(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models) as service:
        job = ask(service, steps=2)
        wait_until(lambda: look(service, job).status == RUNNING)
        waiting = ask(service, steps=1)
        held.allow(99)
    with serving(tmp_path) as service:
        assert look(service, job).status == COMPLETED
        assert finish(service, waiting).status == COMPLETED


def test_stopping_puts_back_what_takes_too_long(tmp_path: Path) -> None:
    held = Held()
    with serving(tmp_path, held.models, grace=0.0) as service:
        job = ask(service, steps=8)
        wait_until(lambda: look(service, job).status == RUNNING)
        threading.Timer(0.2, held.allow, [1]).start()
    again = Held()
    with serving(tmp_path, again.models) as service:
        wait_until(lambda: look(service, job).status == RUNNING)
        assert look(service, job).attempts == 1
        again.allow(8)
        assert finish(service, job).status == COMPLETED


def test_what_a_killed_server_left_is_tidied_and_nothing_else(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        job, gone = finish(service, ask(service)), finish(service, ask(service, seed=8))
        service.store.remove(gone.id)  # and here the server is killed
        assert clips(tmp_path) == sorted([job.id, gone.id])
    foreign = ["b", "city", f"video_{'0' * 32}", "video_unknown"]
    for name in [*foreign, f".video_{'1' * 32}"]:
        (tmp_path / "clips" / name).mkdir()
        (tmp_path / "clips" / name / "facts.json").write_text("precious")
    with serving(tmp_path) as service:
        wait_until(lambda: clips(tmp_path) == sorted([*foreign, job.id]))
        service.delete(job)
        assert clips(tmp_path) == foreign


@pytest.mark.parametrize("format", ["sheet", "frames", "webm", "thumbnail"])
def test_a_clip_deleted_while_it_is_converted_stays_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    with serving(tmp_path) as service, ThreadPoolExecutor(2) as pool:
        job = finish(service, ask(service))
        slow = SlowWriting(monkeypatch)
        asked = pool.submit(service.file, job, format)
        assert slow.begun.wait(60)
        deleted = pool.submit(service.delete, job)
        wait_until(lambda: service.store.get(job.id, "me") is None)
        slow.go_on.set()
        deleted.result(60)
        with suppress(FileNotFoundError):
            asked.result(60)
        assert clips(tmp_path) == []
        with pytest.raises(FileNotFoundError):
            service.file(job, format)


def test_a_file_that_is_there_waits_for_no_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, began = threading.Event(), []

    def slowly(folder: Path, kind: str) -> None:
        began.append(folder.name)
        assert go_on.wait(60)

    with serving(tmp_path) as service, ThreadPoolExecutor(2) as pool:
        jobs = [finish(service, ask(service, seed=seed)) for seed in (1, 2)]
        monkeypatch.setattr(clip_module, "_write_format", slowly)
        asked = [pool.submit(service.file, job, "gif") for job in jobs]
        wait_until(lambda: len(began) == 2)
        assert service.file(jobs[0], "mp4").is_file()
        go_on.set()
        for one in asked:
            with pytest.raises(FileNotFoundError):
                one.result(60)


def test_finished_jobs_go_after_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcm.serving.worker._EXPIRY_SECONDS", 0.05)
    with serving(tmp_path, keep_hours=0.0) as service:
        job = ask(service)
        wait_until(lambda: service.store.get(job.id, "me") is None)
        wait_until(lambda: clips(tmp_path) == [])


def test_finished_jobs_go_after_their_time_under_steady_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcm.serving.worker._EXPIRY_SECONDS", 0.0)
    held = Held()
    with serving(tmp_path, held.models, keep_hours=0.0, batch_size=1) as service:
        jobs = [ask(service, steps=1) for _ in range(4)]
        held.allow(2)
        wait_until(lambda: service.store.get(jobs[1].id, "me") is None)
        assert look(service, jobs[3]).status == QUEUED, "the worker never rested"
        held.allow(2)


@pytest.mark.parametrize("method", ["claim", "complete", "fail", "put_back", "recover"])
def test_the_worker_survives_a_fault_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("mcm.serving.worker._FAULT_SECONDS", 0.01)
    held = Held()
    with serving(tmp_path, held.models) as service:
        do, failures = getattr(service.store, method), [OSError("disk")]

        def fail_once(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return do(*arguments)

        def follow() -> list[str]:
            async def seen() -> list[str]:
                return [news.status async for news in service.watch(job)]

            return asyncio.run(seen())

        if method == "put_back":
            monkeypatch.setattr(Worker, "_check", stop_once(StoppedError()))
        if method == "fail":
            monkeypatch.setattr(Worker, "_check", stop_once(RuntimeError("no"), times=2))
        monkeypatch.setattr(service.store, method, fail_once)
        job = ask(service, steps=1)
        with ThreadPoolExecutor(1) as pool:
            watched = pool.submit(follow)
            held.allow(3)
            status = FAILED if method == "fail" else COMPLETED
            assert watched.result(timeout=60)[-1] == status
        assert look(service, job).status == status
        wait_until(lambda: not failures)
        assert service.is_alive
        assert held.batches == [1] * {"put_back": 2, "fail": 2}.get(method, 1)
    assert clips(tmp_path) == ([] if status == FAILED else [job.id])


def stop_once(error: Exception, times: int = 1) -> Any:
    """Return a check that raises at its first calls."""
    errors = [error] * times

    def check(*_: Any) -> None:
        if errors:
            raise errors.pop()

    return check


def one_running(service: Service, waiting: int) -> tuple[Job, list[Job]]:
    """Ask for a clip, and while it is being made for others that fit in one batch."""
    first = ask(service, steps=1)
    wait_until(lambda: look(service, first).status == RUNNING)
    return first, [ask(service, steps=1, seed=seed) for seed in range(waiting)]


def test_a_clip_that_cannot_be_written_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    with serving(tmp_path, held.models) as service:
        first, jobs = one_running(service, waiting=3)
        write = clip_module._write_format

        def fail_for_second(folder: Path, format: str) -> None:
            if folder.name == f".{jobs[1].id}":
                raise OSError(28, "No space left on device")
            write(folder, format)

        monkeypatch.setattr(clip_module, "_write_format", fail_for_second)
        held.allow(2)
        statuses = [finish(service, job).status for job in jobs]
        assert statuses == [COMPLETED, FAILED, COMPLETED]
        assert "No space left" in str(look(service, jobs[1]).error_message)
        assert held.batches == [1, 3], "nothing is made twice"
        assert clips(tmp_path) == sorted(job.id for job in (first, jobs[0], jobs[2]))


def test_jobs_of_a_batch_that_took_too_long_are_made_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    with serving(tmp_path, held.models) as service:
        first, jobs = one_running(service, waiting=2)
        held.allow(1)
        finish(service, first)
        monkeypatch.setattr(Worker, "_check", stop_once(TimeLimitError()))
        held.allow(3)
        assert [finish(service, job).status for job in jobs] == [COMPLETED, COMPLETED]
        assert held.batches == [1, 2, 1, 1]


def test_a_queued_job_waits_for_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "start", lambda _: None)
    monkeypatch.setattr(Worker, "stop", lambda _: None)
    with serving(tmp_path) as service:
        assert look(service, ask(service)).status == QUEUED
