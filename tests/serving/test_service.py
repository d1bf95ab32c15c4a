"""The service without HTTP: the worker, cancelling, limits, stopping, starting again."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.serving.live import Held, fake_models, wait_until

from mcm.errors import UserError
from mcm.media import read_metadata
from mcm.serving.config import ServeConfig
from mcm.serving.feed import News
from mcm.serving.intake import VideoRequest
from mcm.serving.service import Service
from mcm.serving.store import COMPLETED, FAILED, QUEUED, RUNNING, Job, QueueFullError
from mcm.serving.worker import Worker


@contextmanager
def serving(folder: Path, models: Any = None, **changes: Any) -> Iterator[Service]:
    config = ServeConfig(models=("student",), folder=folder, **changes)
    service = Service(config, models or fake_models())
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


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    with serving(tmp_path), pytest.raises(UserError, match="another server"):
        Service(ServeConfig(models=("student",), folder=tmp_path), fake_models())


def test_what_a_killed_server_left_is_tidied(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        job = finish(service, ask(service))
    (tmp_path / "clips" / ".video_half").mkdir()
    (tmp_path / "clips" / "video_unknown").mkdir()
    with serving(tmp_path) as service:
        assert clips(tmp_path) == [job.id]
        service.delete(job)
        assert clips(tmp_path) == []


def test_finished_jobs_go_after_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcm.serving.worker._IDLE_SECONDS", 0.05)
    with serving(tmp_path, keep_hours=0.0) as service:
        job = ask(service)
        wait_until(lambda: service.store.get(job.id, "me") is None)
        wait_until(lambda: clips(tmp_path) == [])


def test_the_worker_survives_a_fault_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as service:
        claim, failures = service.store.claim, [OSError("disk")]

        def fail_once(most: int) -> list[Job]:
            if failures:
                raise failures.pop()
            return claim(most)

        monkeypatch.setattr(service.store, "claim", fail_once)
        assert finish(service, ask(service)).status == COMPLETED
        assert not failures
        assert service.is_alive


def test_a_queued_job_waits_for_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "start", lambda _: None)
    monkeypatch.setattr(Worker, "stop", lambda _: None)
    with serving(tmp_path) as service:
        assert look(service, ask(service)).status == QUEUED
