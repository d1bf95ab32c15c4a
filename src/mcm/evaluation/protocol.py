"""A protocol: which clips are asked for, what sees them, what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

from mcm.evaluation.alignment import TextAlignment
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import FlowAgreement, FlowError
from mcm.evaluation.diversity import Diversity
from mcm.evaluation.embedded import PROTOCOL, RealClips, RealStills, Request, requests
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.frechet import FrechetDistance
from mcm.evaluation.judge import default_metrics, observers_of
from mcm.evaluation.metric import Metric, Observer

REAL_VIDEO, REAL_IMAGE, REAL_FLAT = "real-poor", "real-image", "real-flat"


@dataclass(frozen=True)
class Reference:
    """A run of real material.

    Attributes:
        count: Clips or stills of it.
        make: Gives the one of a request's seed.
    """

    count: int
    make: Callable[[Request], EvaluationClip]


class Protocol(Interface):
    """What an evaluation does, whatever the world of its prompts."""

    @property
    def name(self) -> str:
        """Results of different protocols do not compare."""

    @property
    def frames(self) -> int | None:
        """Frames of a clip; ``None`` is the model's own number."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of a clip; ``None`` is the model's own."""

    @property
    def fps(self) -> int:
        """Frames per second of clips to show."""

    def requests(self, count: int | None = None) -> list[Request]:
        """Return the first requests, or all."""

    def metrics(self) -> list[Metric]:
        """Return what is measured, in the order of the table."""

    def observers(self, metrics: Sequence[Metric]) -> list[Observer]:
        """Return what must see clips for some of the metrics."""

    def references(self) -> Mapping[str, Reference]:
        """Return the runs of real material by name."""


@dataclass(frozen=True)
class FluentProtocol:
    """The protocol of the embedded world.

    Attributes:
        real: Real clips, and stills of each domain, to compare with.
    """

    real: int = 2252

    name = PROTOCOL
    frames = None
    size = None
    fps = 8

    def requests(self, count: int | None = None) -> list[Request]:
        """Return one request for each evaluation combination, or the first."""
        return requests(count)

    def metrics(self) -> list[Metric]:
        """Return every metric of the embedded world."""
        fvd = FrechetDistance("fvd", "FVD", ClipFeatures.name, REAL_VIDEO)
        fids = [
            FrechetDistance(f"fid_{domain}", f"FID to {domain}", FrameFeatures.name, run)
            for domain, run in (("video", REAL_VIDEO), ("image", REAL_IMAGE), ("flat", REAL_FLAT))
        ]
        compared = [TextAlignment(), FlowAgreement(), FlowError(), Diversity()]
        return [fvd, *fids, *default_metrics(), *compared]

    def observers(self, metrics: Sequence[Metric]) -> list[Observer]:
        """Return the embedded observers."""
        return observers_of(metrics)

    def references(self) -> dict[str, Reference]:
        """Return real clips of the evaluation split and its stills."""
        sources = {
            REAL_VIDEO: RealClips("poor").clip,
            REAL_IMAGE: RealStills("image").clip,
            REAL_FLAT: RealStills("flat").clip,
        }
        return {name: Reference(self.real, make) for name, make in sources.items()}
