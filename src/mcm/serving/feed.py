"""News of running jobs, from the thread that makes them to everyone who watches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class News:
    """How far a job is.

    Attributes:
        status: State of the job.
        step: Network steps done.
        steps: Network steps to do.
        preview: Some frames as they look so far, an animated webp.
    """

    status: str
    step: int = 0
    steps: int = 1
    preview: bytes | None = None

    @property
    def percent(self) -> int:
        """How much is done: the steps, then the decoder, and 100 once it is completed."""
        return 100 if self.status == "completed" else 100 * self.step // (self.steps + 1)


@dataclass(frozen=True, eq=False)
class _Watcher:
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[News | None]

    def tell(self, news: News | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.queue.put_nowait, news)


class Feed:
    """The latest news of every running job, and who waits for more."""

    def __init__(self) -> None:
        self._latest: dict[str, News] = {}
        self._watchers: dict[str, list[_Watcher]] = {}
        self._lock = threading.Lock()

    def publish(self, id: str, news: News) -> None:
        """Tell news of a job."""
        with self._lock:
            self._latest[id] = news
            watchers = list(self._watchers.get(id, ()))
        for watcher in watchers:
            watcher.tell(news)

    def forget(self, ids: Iterable[str]) -> None:
        """Keep no news of jobs that run no more."""
        with self._lock:
            for id in ids:
                self._latest.pop(id, None)

    def latest(self, id: str) -> News | None:
        """Return the latest news of a running job."""
        with self._lock:
            return self._latest.get(id)

    async def watch(self, id: str, otherwise: Callable[[], News]) -> AsyncIterator[News]:
        """Yield the latest news of a job and all that follow, until `close`.

        Args:
            id: Of the job.
            otherwise: Tells how far a job is of which nothing was published.
        """
        watcher = _Watcher(asyncio.get_running_loop(), asyncio.Queue())
        with self._lock:
            self._watchers.setdefault(id, []).append(watcher)
        try:
            latest = self.latest(id)
            yield await asyncio.to_thread(otherwise) if latest is None else latest
            while (news := await watcher.queue.get()) is not None:
                yield news
        finally:
            with self._lock:
                self._watchers[id].remove(watcher)
                if not self._watchers[id]:
                    del self._watchers[id]

    def close(self) -> None:
        """End what everyone watches."""
        with self._lock:
            watchers = [one for several in self._watchers.values() for one in several]
        for watcher in watchers:
            watcher.tell(None)
