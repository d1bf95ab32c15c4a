"""What Prometheus may ask: counts and times of jobs and requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from mcm.serving.tables import Job

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)


class Metrics:
    """The measures of one server."""

    def __init__(self, counts: Callable[[], dict[str, int]]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Jobs(counts))
        self._requests = Counter(
            "mcm_requests", "HTTP requests.", ["method", "route", "code"], registry=self._registry
        )
        self._finished = Counter(
            "mcm_jobs_finished", "Finished jobs.", ["model", "status"], registry=self._registry
        )
        self._wait = Histogram(
            "mcm_job_wait_seconds",
            "Time from accepted to begun.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch = Histogram(
            "mcm_batch_jobs",
            "Jobs generated together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self._total = Histogram(
            "mcm_job_seconds",
            "Time from accepted to finished.",
            buckets=_SECONDS,
            registry=self._registry,
        )

    def request(self, method: str, route: str, code: int) -> None:
        """Count a request."""
        self._requests.labels(method, route, code).inc()

    def begun(self, jobs: Sequence[Job]) -> None:
        """Note how long the jobs of a batch have waited, and how many they are."""
        self._batch.observe(len(jobs))
        for job in jobs:
            self._wait.observe(time.time() - job.created_at)

    def finished(self, job: Job, status: str) -> None:
        """Count a finished job."""
        self._finished.labels(job.order["model"], status).inc()
        self._total.observe(time.time() - job.created_at)

    def text(self) -> bytes:
        """Return all measures as Prometheus reads them."""
        return generate_latest(self._registry)


class _Jobs:
    def __init__(self, counts: Callable[[], dict[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("mcm_jobs", "Jobs in every state.", labels=["status"])
        for status, count in self._counts().items():
            family.add_metric([status], count)
        yield family

    def describe(self) -> list[GaugeMetricFamily]:
        return []
