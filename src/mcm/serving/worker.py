"""The thread that makes the clips: it claims waiting jobs, batch by batch."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mcm.errors import UserError
from mcm.media.images import webp_bytes
from mcm.safety import guard
from mcm.safety.guard import Refused
from mcm.safety.publishing import prepare
from mcm.sampling.clip import Clip
from mcm.sampling.options import ModelWarning
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.pixels import to_uint8
from mcm.serving.clips import ClipFolder
from mcm.serving.config import ServeConfig
from mcm.serving.errors import REFUSED
from mcm.serving.feed import Feed, News
from mcm.serving.metrics import Metrics
from mcm.serving.models import Models
from mcm.serving.order import Order
from mcm.serving.store import COMPLETED, FAILED, RUNNING, Job, JobStore

log = logging.getLogger(__name__)

PREVIEW_FRAMES = 4
_IDLE_SECONDS = 30.0


class StoppedError(Exception):
    """The server stops, or nobody wants the batch any more."""


class TimeLimitError(Exception):
    """A batch ran longer than it may."""


class Worker:
    """Makes the clips of waiting jobs until it is stopped."""

    def __init__(
        self,
        config: ServeConfig,
        models: Models,
        store: JobStore,
        clips: ClipFolder,
        feed: Feed,
        metrics: Metrics,
    ) -> None:
        self._config, self._models, self._metrics = config, models, metrics
        self._store, self._clips, self._feed = store, clips, feed
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._wake = threading.Event()
        self._stop_by: float | None = None
        self._unwanted: set[str] = set()
        self.seconds_per_job = 1.0

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """Tell that a job waits."""
        self._wake.set()

    def drop(self, id: str) -> None:
        """Tell that nobody wants a job any more, which is written down as failed already."""
        self._unwanted.add(id)
        self._feed.publish(id, News(FAILED))
        self._feed.forget([id])

    @property
    def is_alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the running batch, or put it back when that takes longer than the grace."""
        self._stop_by = time.monotonic() + self._config.grace
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while self._stop_by is None:
            try:
                self._unwanted.clear()
                jobs = self._store.claim(self._config.batch_size)
                if not jobs:
                    self._rest()
                    continue
                self._metrics.begun(jobs)
                self._make(jobs)
                self._feed.forget(job.id for job in jobs)
            except Exception:
                log.exception("the worker goes on after a fault")
                time.sleep(1)

    def _rest(self) -> None:
        self._expire()
        self._wake.wait(_IDLE_SECONDS)
        self._wake.clear()

    def _expire(self) -> None:
        """Delete what finished long ago."""
        for id in self._store.ids(time.time() - 3600 * self._config.keep_hours):
            self._store.remove(id)
            self._clips.remove(id)

    def _make(self, jobs: Sequence[Job]) -> None:
        """Make a batch; when it fails, each of its jobs alone, so that one cannot spoil others."""
        start = time.monotonic()
        try:
            self._finish(jobs, *self._generate(jobs, start))
        except StoppedError:
            self._store.put_back([job.id for job in jobs])
        except TimeLimitError:
            reason = f"it ran longer than {self._config.time_limit:g} s"
            self._fail(jobs, "time_limit_exceeded", reason)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._make([job])
            else:
                code = REFUSED if isinstance(error, Refused) else "generation_failed"
                self._fail(jobs, code, _reason(error))
        self.seconds_per_job += 0.2 * (
            (time.monotonic() - start) / len(jobs) - self.seconds_per_job
        )

    def _generate(self, jobs: Sequence[Job], start: float) -> tuple[list[Clip], list[str]]:
        """Run the model; return its clips and warnings."""
        orders = [job.read_order() for job in jobs]
        model = self._models[orders[0].model].model
        spent = [0.0]
        for job, order in zip(jobs, orders, strict=True):
            self._feed.publish(job.id, News(RUNNING, 0, order.steps))

        def on_step(step: int, steps: int, x0_bcthw: Tensor) -> None:
            self._check(jobs, start)
            began = time.perf_counter()
            for job, order, x0_cthw in zip(jobs, orders, x0_bcthw, strict=True):
                if job.id in self._unwanted:
                    continue
                shown = _preview(model, x0_cthw, job.id, order) if order.preview else None
                self._feed.publish(job.id, News(RUNNING, step, steps, shown))
            spent[0] += time.perf_counter() - began

        with self._models.turn, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ModelWarning)
            clips = model.generate_batch(
                [order.prompt for order in orders],
                [order.seed for order in orders],
                on_step=on_step,
                **orders[0].options(),
            )
        told = [str(one.message) for one in caught if issubclass(one.category, ModelWarning)]
        return [_without(clip, spent[0]) for clip in clips], told

    def _check(self, jobs: Sequence[Job], start: float) -> None:
        now = time.monotonic()
        if now - start > self._config.time_limit:
            raise TimeLimitError
        stopping = self._stop_by is not None and now > self._stop_by
        if stopping or all(job.id in self._unwanted for job in jobs):
            raise StoppedError

    def _finish(self, jobs: Sequence[Job], clips: Sequence[Clip], told: Sequence[str]) -> None:
        for job, clip in zip(jobs, clips, strict=True):
            if job.id not in self._unwanted:
                facts = self._clips.write(job.id, clip, job.read_order().format, told)
                if self._store.complete(job.id, facts):
                    self._close(job, COMPLETED)
                    continue
            self._clips.remove(job.id)

    def _fail(self, jobs: Sequence[Job], code: str, reason: str) -> None:
        for job in jobs:
            if self._store.fail(job.id, code, reason):
                self._close(job, FAILED)

    def _close(self, job: Job, status: str) -> None:
        self._metrics.finished(job, status)
        self._feed.publish(job.id, News(status))


def _preview(model: VideoModel, x0_cthw: Tensor, id: str, order: Order) -> bytes:
    """Return some frames of clean latents as they look so far, an animated webp.

    They are checked and marked as the finished clip will be.
    """
    latents_bcthw = x0_cthw[None]
    count = (x0_cthw.shape[1] - 1) * model.backbone.spec.temporal_factor + 1
    indices_bl = torch.linspace(0, count - 1, min(PREVIEW_FRAMES, count)).round().long()[None]
    pixels_bl3hw = model.backbone.decode_frames(latents_bcthw, indices_bl)
    fps = model.backbone.spec.fps * indices_bl.shape[1] / count
    frames = to_uint8(pixels_bl3hw[0])
    guard.check_clip(frames, order.prompt)
    return webp_bytes(prepare(frames, f"preview of {id}", {}).frames, fps)


def _without(clip: Clip, preview_seconds: float) -> Clip:
    """Return a clip whose time in the network leaves the previews out."""
    network = clip.timings["network"] - preview_seconds
    return replace(clip, timings={**clip.timings, "network": network})


def _reason(error: Exception) -> str:
    """Return what a client is told of a failure; the log has the rest."""
    if isinstance(error, UserError):
        return str(error)
    log.error("a job failed", exc_info=error)
    if isinstance(error, OSError):
        return f"the server could not write the clip: {error.strerror}"
    return f"internal error of the server: {type(error).__name__}"
