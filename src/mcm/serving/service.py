"""The server without HTTP: what the API and the page both call."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

from mcm.serving.config import ServeConfig
from mcm.serving.feed import Feed, News
from mcm.serving.intake import VideoRequest, take_in
from mcm.serving.live import Live
from mcm.serving.metrics import Metrics
from mcm.serving.models import Models
from mcm.serving.room import Room
from mcm.serving.source import Source
from mcm.serving.store import FAILED, OPEN, Token
from mcm.serving.tables import Job
from mcm.serving.worker import Worker

_LONGEST_WAIT = 60


class Service:
    """Accepts jobs, makes their clips, and tells of both.

    Attributes:
        config: What the server was asked for.
        models: The models it serves.
        store: Its jobs.
        metrics: Its measures.
        live: Its streams.
    """

    def __init__(self, config: ServeConfig, models: Models, room: Room) -> None:
        self.config, self.models, self._room = config, models, room
        self.store, self._clips = room.store, room.clips
        self.metrics = Metrics(self.store.counts)
        self.live = Live(config, models)
        self._feed = Feed()
        self._worker = Worker(config, models, self.store, self._clips, self._feed, self.metrics)

    def start(self) -> None:
        """Tidy what a killed server left, and begin to work."""
        self._clips.tidy()
        self._worker.start()

    def stop(self) -> None:
        """Finish or put back the running jobs, and leave the room."""
        self._worker.stop()
        self._room.close()

    def hang_up(self) -> None:
        """End the news and the streams of everyone who watches."""
        self._feed.close()
        self.live.close()

    @property
    def is_alive(self) -> bool:
        """Whether jobs are worked on."""
        return self._worker.is_alive

    @property
    def retry_after(self) -> int:
        """Whole seconds until a place in the queue should be free."""
        return min(_LONGEST_WAIT, max(1, math.ceil(self._worker.seconds_per_job)))

    def submit(
        self,
        request: VideoRequest,
        owner: str,
        key: str | None = None,
        source: Source | None = None,
    ) -> Job:
        """Accept a request; the job is safe once this returns.

        Args:
            request: What is asked for.
            owner: Who asks.
            key: The client's idempotency key: the same key and request, the same job.
            source: What is to be edited, if anything.

        Raises:
            UserError: A value is wrong.
            TokenReusedError: The key came with another request before.
            QueueFullError: No more jobs are taken at the moment.
        """
        order = take_in(request, self.models[request.model].model, self.config, source)
        token = None if key is None else Token(key, _digest(request, source))
        job = self.store.accept(order, owner, token, self.config.queue_limit, source)
        self._worker.wake()
        return job

    def cancel(self, job: Job) -> None:
        """End an open job; a finished one stays as it is."""
        if self.store.fail(job.id, "cancelled", "the job was cancelled"):
            self._worker.drop(job.id)

    def delete(self, job: Job) -> None:
        """Forget a job and its clip; an open one is cancelled first."""
        self.cancel(job)
        self.store.remove(job.id)
        self._clips.remove(job.id)

    def file(self, job: Job, format: str) -> Path:
        """Return the file of a finished job in a format.

        Raises:
            FileNotFoundError: The job was deleted meanwhile.
        """
        return self._clips.file(job.id, format)

    def made(self, job: Job, format: str) -> Path | None:
        """Return the file of a finished job in a format that was asked for before."""
        return self._clips.made(job.id, format)

    def news(self, job: Job) -> News:
        """Return how far a job is."""
        return self._feed.latest(job.id) or News(job.status)

    async def watch(self, job: Job) -> AsyncIterator[News]:
        """Yield news of a job; ends when it is finished or the server stops."""
        async for news in self._feed.watch(job.id, lambda: self._now(job)):
            yield news
            if news.status not in OPEN:
                return

    def _now(self, job: Job) -> News:
        """Return news of a job that nothing was published of: it waits, or is finished."""
        known = self.store.get(job.id, job.owner)
        return News(FAILED if known is None else known.status)


def _digest(request: VideoRequest, source: Source | None) -> str:
    """Return what is equal for requests that ask for the same."""
    digest = hashlib.sha256(request.model_dump_json().encode())
    if source is not None:
        digest.update(hashlib.sha256(source.content).digest() + source.ending.encode())
    return digest.hexdigest()
