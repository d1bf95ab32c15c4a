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
from mcm.sampling.samplers import OnStep
from mcm.serving.clips import ClipFolder
from mcm.serving.config import ServeConfig
from mcm.serving.errors import REFUSED
from mcm.serving.feed import Feed, News
from mcm.serving.metrics import Metrics
from mcm.serving.models import Models
from mcm.serving.order import Order
from mcm.serving.source import FIELD
from mcm.serving.store import COMPLETED, FAILED, QUEUED, RUNNING, JobStore
from mcm.serving.tables import Job

log = logging.getLogger(__name__)

PREVIEW_FRAMES = 4
_EXPIRY_SECONDS = 30.0
_FAULT_SECONDS = 1.0


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
        self._expires_at = time.monotonic()
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
                self._take_turn()
            except Exception:
                log.exception("the worker goes on after a fault")
                time.sleep(_FAULT_SECONDS)

    def _take_turn(self) -> None:
        """Make one batch of waiting jobs, or wait for some; at its start no job runs."""
        self._settle()
        self._expire()
        self._unwanted.clear()
        jobs = self._store.claim(self._config.batch_size)
        if not jobs:
            self._wake.wait(max(0.0, self._expires_at - time.monotonic()))
            self._wake.clear()
            return
        self._metrics.begun(jobs)
        start = time.monotonic()
        try:
            self._make(jobs)
        finally:
            self._feed.forget(job.id for job in jobs)
        taken = (time.monotonic() - start) / len(jobs)
        self.seconds_per_job += 0.2 * (taken - self.seconds_per_job)

    def _settle(self) -> None:
        """Complete, fail or queue what a killed server or a fault cut off."""
        for job in self._store.recover(self._config.attempts, self._clips.facts):
            if job.status != QUEUED:
                self._close(job, job.status)
                self._feed.forget([job.id])

    def _expire(self) -> None:
        """Delete what finished long ago, and clips of forgotten jobs, if it is time to."""
        if time.monotonic() < self._expires_at:
            return
        for id in self._store.ids(time.time() - 3600 * self._config.keep_hours):
            self._store.remove(id)
        removed = self._store.removed()
        for id in removed:
            self._clips.remove(id)
        self._store.swept(removed)
        self._expires_at = time.monotonic() + _EXPIRY_SECONDS

    def _make(self, jobs: Sequence[Job]) -> None:
        """Make a batch; when it fails, each of its jobs alone, so that one cannot spoil others."""
        try:
            clips, told = self._generate(jobs, time.monotonic())
        except StoppedError:
            self._store.put_back([job.id for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                self._fail(jobs[0], error)
            else:
                for job in jobs:
                    if job.id not in self._unwanted:
                        self._make([job])
        else:
            for job, clip in zip(jobs, clips, strict=True):
                self._finish(job, clip, told)

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
            if orders[0].strength is None:
                clips = model.generate_batch(
                    [order.prompt for order in orders],
                    [order.seed for order in orders],
                    on_step=on_step,
                    **orders[0].options(),
                )
            else:
                clips = [self._edit(model, jobs[0], on_step)]
        told = [str(one.message) for one in caught if issubclass(one.category, ModelWarning)]
        return [_without(clip, spent[0]) for clip in clips], told

    def _edit(self, model: VideoModel, job: Job, on_step: OnStep) -> Clip:
        """Edit what came with a job, which is made alone."""
        order, source = job.read_order(), self._store.source(job.id)
        if source is None or order.strength is None:
            raise UserError(f"{FIELD}: the file is gone; send it again")
        return model.edit(
            source.frames(order),
            order.prompt,
            strength=order.strength,
            seed=order.seed,
            on_step=on_step,
            **order.edit_options(),
        )

    def _check(self, jobs: Sequence[Job], start: float) -> None:
        now = time.monotonic()
        if now - start > self._config.time_limit:
            raise TimeLimitError
        stopping = self._stop_by is not None and now > self._stop_by
        if stopping or all(job.id in self._unwanted for job in jobs):
            raise StoppedError

    def _finish(self, job: Job, clip: Clip, told: Sequence[str]) -> None:
        """Write a clip, unless nobody wants it any more."""
        if job.id in self._unwanted:
            return
        try:
            source = self._store.source(job.id)
            facts = self._clips.write(job.id, clip, job.read_order(), told, source)
        except Exception as error:
            self._fail(job, error)
            return
        if self._store.complete(job.id, facts):
            self._close(job, COMPLETED)
        else:
            self._clips.remove(job.id)

    def _fail(self, job: Job, error: Exception) -> None:
        if self._store.fail(job.id, *self._reason(error)):
            self._close(job, FAILED)

    def _close(self, job: Job, status: str) -> None:
        self._metrics.finished(job, status)
        self._feed.publish(job.id, News(status))

    def _reason(self, error: Exception) -> tuple[str, str]:
        """Return the code and the sentence that a client gets of a failure; the log has more."""
        if isinstance(error, TimeLimitError):
            return "time_limit_exceeded", f"it ran longer than {self._config.time_limit:g} s"
        if isinstance(error, UserError):
            return REFUSED if isinstance(error, Refused) else "generation_failed", str(error)
        log.error("a job failed", exc_info=error)
        if isinstance(error, OSError):
            return "generation_failed", f"the server could not write the clip: {error.strerror}"
        return "generation_failed", f"internal error of the server: {type(error).__name__}"


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
