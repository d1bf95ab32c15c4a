"""Jobs on SQLite: what is accepted stays, each is claimed by one and finished once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mcm.serving.order import Order
from mcm.serving.source import Source
from mcm.serving.store import (
    COMPLETED,
    FAILED,
    QUEUED,
    RUNNING,
    JobStore,
    QueueFullError,
    Token,
    TokenReusedError,
)
from mcm.serving.tables import Job

ORDER = Order("student", "a fox", 7, 4, 1.0, 3, 8.0, 32, 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite")
    yield store
    store.close()


def add(store: JobStore, order: Order = ORDER, token: Token | None = None, limit: int = 9) -> Job:
    return store.accept(order, "me", token, limit)


def status(store: JobStore, job: Job) -> str:
    found = store.get(job.id, job.owner)
    assert found is not None
    return found.status


def test_an_order_comes_back_as_it_was(store: JobStore, tmp_path: Path) -> None:
    job = add(store)
    again = JobStore(tmp_path / "jobs.sqlite")
    found = again.get(job.id, "me")
    assert found is not None
    assert (found.read_order(), found.status) == (ORDER, QUEUED)
    again.close()


def test_jobs_of_others_are_not_there(store: JobStore) -> None:
    assert store.get(add(store).id, "you") is None
    assert store.page("you", None, 10, newest_first=True) == []


def test_the_queue_has_an_end_until_a_job_is_done(store: JobStore) -> None:
    jobs = [add(store, limit=2) for _ in range(2)]
    with pytest.raises(QueueFullError):
        add(store, limit=2)
    store.fail(jobs[0].id, "cancelled", "")
    assert status(store, add(store, limit=2)) == QUEUED


def test_the_same_token_is_the_same_job_of_one_owner(store: JobStore) -> None:
    token = Token("a", "1")
    first = add(store, token=token, limit=1)
    assert add(store, token=token, limit=1).id == first.id
    assert store.accept(ORDER, "you", token, 9).id != first.id
    with pytest.raises(TokenReusedError):
        add(store, token=Token("a", "2"), limit=1)
    store.remove(first.id)
    assert add(store, token=Token("a", "2")).id != first.id


def test_what_is_removed_is_known_until_it_is_swept(store: JobStore) -> None:
    first, second = add(store), add(store)
    store.remove(first.id)
    store.remove("video_of_nobody")
    assert store.removed() == [first.id]
    store.swept([first.id])
    assert store.removed() == []
    assert store.ids() == [second.id]


def test_a_source_is_kept_until_its_job_is_done(store: JobStore, tmp_path: Path) -> None:
    source = Source(b"a file", ".mp4")
    jobs = [store.accept(ORDER, "me", None, 9, source) for _ in range(3)]
    again = JobStore(tmp_path / "jobs.sqlite")
    assert [again.source(job.id) for job in jobs] == [source] * 3
    again.close()
    assert [job.id for job in store.claim(9)] == [jobs[0].id], "edits are made alone"
    assert store.complete(jobs[0].id, {})
    assert store.fail(jobs[1].id, "cancelled", "")
    assert [store.source(job.id) for job in jobs] == [None, None, source]
    store.remove(jobs[2].id)
    assert store.source(jobs[2].id) is None


def test_batches_are_of_one_group_and_in_order(store: JobStore) -> None:
    other = replace(ORDER, steps=2)
    jobs = [add(store, order) for order in (ORDER, other, ORDER, ORDER, replace(other, seed=1))]
    assert [job.id for job in store.claim(2)] == [jobs[0].id, jobs[2].id]
    assert [job.id for job in store.claim(2)] == [jobs[1].id, jobs[4].id]
    assert [job.id for job in store.claim(2)] == [jobs[3].id]
    assert store.claim(2) == []


def test_prompt_seed_and_format_do_not_part_a_batch() -> None:
    alike = replace(ORDER, prompt="a star", seed=1, format="gif", preview=True)
    assert alike.group == ORDER.group
    parting = ({"model": "b"}, {"width": 64}, {"guidance": 2.0}, {"negative_prompt": "c"})
    for changes in (*parting, {"loop": True}, {"sampler": "ddim"}, {"stochasticity": 0.5}):
        assert replace(ORDER, **changes).group != ORDER.group


def test_a_job_is_finished_once(store: JobStore) -> None:
    job = add(store)
    assert not store.complete(job.id, {}), "it does not run yet"
    store.claim(1)
    assert store.complete(job.id, {"a": 1})
    assert not store.complete(job.id, {"a": 2})
    assert not store.fail(job.id, "cancelled", "")
    found = store.get(job.id, "me")
    assert found is not None
    assert (found.status, found.facts) == (COMPLETED, {"a": 1})


def test_a_cancelled_job_cannot_be_completed(store: JobStore) -> None:
    job = add(store)
    store.claim(1)
    assert store.fail(job.id, "cancelled", "")
    assert not store.complete(job.id, {})
    assert status(store, job) == FAILED


def test_recovery_queues_completes_or_gives_up(store: JobStore) -> None:
    cut, written, waiting = (add(store, replace(ORDER, steps=n)) for n in (1, 2, 3))
    store.claim(1), store.claim(1)
    settled = list(store.recover(2, {written.id: {"kept": True}}.get))
    assert [(job.id, job.status) for job in settled] == [(cut.id, QUEUED), (written.id, COMPLETED)]
    assert [status(store, job) for job in (cut, written, waiting)] == [QUEUED, COMPLETED, QUEUED]
    assert [job.id for job in store.claim(9)] == [cut.id]
    assert [job.status for job in store.recover(2, {}.get)] == [FAILED]
    assert status(store, cut) == FAILED
    found = store.get(cut.id, "me")
    assert found is not None
    assert found.error_code == "attempts_exhausted"


def test_a_job_begun_before_goes_alone(store: JobStore) -> None:
    first, _, third = (add(store) for _ in range(3))
    assert len(store.claim(2)) == 2
    assert len(list(store.recover(3, {}.get))) == 2
    assert [job.id for job in store.claim(9)] == [first.id]
    assert len(store.claim(9)) == 1
    assert [job.id for job in store.claim(9)] == [third.id]


def test_what_is_put_back_counts_as_not_begun(store: JobStore) -> None:
    jobs = [add(store) for _ in range(2)]
    store.claim(2)
    store.put_back([job.id for job in jobs])
    assert len(store.claim(2)) == 2


def test_pages_follow_each_other_both_ways(store: JobStore) -> None:
    jobs = [add(store) for _ in range(5)]
    ids = [job.id for job in jobs]
    assert [job.id for job in store.page("me", None, 2, newest_first=True)] == ids[:2:-1]
    assert [job.id for job in store.page("me", jobs[3], 9, newest_first=True)] == ids[2::-1]
    assert [job.id for job in store.page("me", jobs[3], 9, newest_first=False)] == ids[4:]


def test_old_jobs_are_found(store: JobStore) -> None:
    old, _ = add(store), add(store)
    store.fail(old.id, "cancelled", "")
    assert store.ids(time.time() + 1) == [old.id]
    assert store.ids(time.time() - 60) == []
    store.remove(old.id)
    assert old.id not in store.ids()


def test_many_threads_get_along(store: JobStore) -> None:
    claimed: list[str] = []
    lock = threading.Lock()

    def accept_and_claim(number: int) -> None:
        add(store, replace(ORDER, seed=number), limit=1000)
        jobs = store.claim(3)
        with lock:
            claimed.extend(job.id for job in jobs)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(accept_and_claim, range(100)))
    assert sorted(claimed) == sorted(store.ids())
    assert store.counts() == {QUEUED: 0, RUNNING: 100, COMPLETED: 0, FAILED: 0}
