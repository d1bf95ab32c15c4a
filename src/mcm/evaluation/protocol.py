"""A protocol: which clips are asked for, what sees them, what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from typing import Protocol as Interface

from mcm.data.fluent.pack import DEFAULT_PACK
from mcm.data.fluent.scene import FPS, FRAME_SIZE, FRAMES
from mcm.digests import digest_files, digest_json
from mcm.evaluation.alignment import TextAlignment
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import FlowAgreement, FlowError
from mcm.evaluation.concept import ConceptRate
from mcm.evaluation.decoded import DecodedClips
from mcm.evaluation.diversity import Diversity
from mcm.evaluation.embedded import PROTOCOL, RealClips, RealStills, Request, requests
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.frechet import FrechetDistance
from mcm.evaluation.judge import default_metrics, observers_of
from mcm.evaluation.metric import Metric, Observer
from mcm.evaluation.networks import TRAINED_BY, Judges, Network
from mcm.evaluation.refused import RefusedRate
from mcm.evaluation.speed import SecondsPerClip

REAL_VIDEO, REAL_IMAGE, REAL_FLAT = "real-poor", "real-image", "real-flat"
REAL_CLEAN, REAL_AGAIN = "real-clean", "real-poor-again"
REAL_DECODED, CLEAN_DECODED = "real-poor-decoded", "real-clean-decoded"

OF_STILLS = frozenset(
    ("fid_video", "fid_image", "fid_flat", "watermark", "sharpness", "near_black")
)
"""What can be said of a still: nothing of motion, nor of a prompt that it was not made from."""

_NETWORK_OF: Mapping[str, Network] = {
    ClipFeatures.name: "clips",
    FrameFeatures.name: "frames",
    ConceptRate.name: "concept",
}


@dataclass(frozen=True)
class Reference:
    """A run of real material.

    Attributes:
        count: Clips or stills of it.
        make: Gives the one of a request's seed.
        shown: Metrics of its own row in the table: what the judges say of the truth.
        weights: Digest of the weights that had a part in it.
    """

    count: int
    make: Callable[[Request], EvaluationClip]
    shown: frozenset[str] = frozenset()
    weights: str | None = None


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

    def missing(self) -> Mapping[str, str]:
        """Return the observers whose network is not there, and how to get it."""

    def references(self) -> Mapping[str, Reference]:
        """Return the runs of real material by name."""

    def facts(self) -> dict[str, Any]:
        """Return what decides clips and values, JSON-ready: all but how many are taken."""


@dataclass(frozen=True)
class FluentProtocol:
    """The protocol of the embedded world.

    Attributes:
        real: Real clips, and stills of each domain, to compare with.
        judges: The trained networks.
        frames: Frames of a clip; ``None`` is the model's own number.
        size: Height and width; ``None`` is the model's own.
    """

    real: int = 2252
    judges: Judges = field(default_factory=Judges)
    frames: int | None = FRAMES
    size: tuple[int, int] | None = (FRAME_SIZE, FRAME_SIZE)

    name = PROTOCOL
    fps = FPS

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
        return [fvd, *fids, *default_metrics(self.judges), *compared]

    def observers(self, metrics: Sequence[Metric]) -> list[Observer]:
        """Return the embedded observers."""
        return observers_of(metrics, self.judges)

    def missing(self) -> dict[str, str]:
        """Return the observers whose network is not there, and the command that trains it."""
        return {
            observer: f"no network {network!r} ({TRAINED_BY[network]})"
            for observer, network in _NETWORK_OF.items()
            if not self.judges.has(network)
        }

    def references(self) -> dict[str, Reference]:
        """Return real clips and stills of the evaluation split.

        The clips are poor ones, others of the same prompts, those decoded; clean ones, and others
        decoded.
        """
        of_models = {m.name for m in (FlowAgreement, FlowError, SecondsPerClip, RefusedRate)}
        of_clips = frozenset(metric.name for metric in self.metrics()) - of_models
        poor, clean = DecodedClips("poor"), DecodedClips("clean")
        return {
            REAL_VIDEO: Reference(self.real, RealClips("poor").clip, of_clips),
            REAL_AGAIN: Reference(self.real, RealClips("poor", again=True).clip, of_clips),
            REAL_DECODED: Reference(self.real, poor.clip, of_clips, poor.weights),
            REAL_CLEAN: Reference(self.real, RealClips("clean").clip, of_clips),
            CLEAN_DECODED: Reference(self.real, clean.clip, of_clips, clean.weights),
            REAL_IMAGE: Reference(self.real, RealStills("image").clip, OF_STILLS),
            REAL_FLAT: Reference(self.real, RealStills("flat").clip, OF_STILLS),
        }

    def facts(self) -> dict[str, Any]:
        """Return name, clip format, prompts with seeds, artwork and judges."""
        return {
            "name": self.name,
            "frames": self.frames,
            "size": self.size,
            "fps": self.fps,
            "prompts": digest_json([asdict(request) for request in self.requests()]),
            "artwork": digest_files([DEFAULT_PACK]),
            "judges": {name: self.judges.digest(name) for name in TRAINED_BY},
        }
