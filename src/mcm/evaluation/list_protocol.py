"""Protocols for real models: a prompt list, real videos and images, extractors of the field."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mcm.data.image import read_image
from mcm.data.samples import Sample, digest_samples
from mcm.data.sources import open_source
from mcm.data.video import read_video
from mcm.digests import digest_files, digest_json
from mcm.errors import UserError
from mcm.evaluation.black import NearBlackRate
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import FlowAgreement, FlowError, WarpingError
from mcm.evaluation.diversity import Diversity
from mcm.evaluation.embedded import Request
from mcm.evaluation.extractors import (
    ClipSimilarity,
    I3dFeatures,
    InceptionFeatures,
    VideoMaeFeatures,
)
from mcm.evaluation.flow import FlowObserver
from mcm.evaluation.frechet import FrechetDistance
from mcm.evaluation.metric import MeanMetric, Metric, Observer
from mcm.evaluation.prompts import read_prompts
from mcm.evaluation.protocol import Reference
from mcm.evaluation.refused import RefusedRate
from mcm.evaluation.sharpness import FrameSharpness
from mcm.evaluation.speed import SecondsPerClip
from mcm.fields import Count, Name, Section, Size
from mcm.recipe import read
from mcm.sampling.options import ModelWarning

REAL_VIDEOS, REAL_IMAGES = "real-videos", "real-images"

DISTANCES = (
    FrechetDistance("fvd", "FVD", "video_features", REAL_VIDEOS),
    FrechetDistance("fid_video", "FID to video", "image_features", REAL_VIDEOS),
    FrechetDistance("fid_image", "FID to image", "image_features", REAL_IMAGES),
)
"""Fréchet distances, where their networks and real material are there."""

OF_STILLS = frozenset(("fid_video", "clipsim", "sharpness", "near_black"))
OF_VIDEOS = OF_STILLS | {"fid_image", "warping_error"}
"""What is said of real images and videos beside the models, as the ceiling."""


class VideoExtractor(Section):
    """The network of FVD."""

    kind: Literal["i3d", "videomae"]
    """TorchScript I3D, or a folder of a VideoMAE model."""
    weights: Name
    """File or folder."""


class ProtocolFile(Section):
    """The YAML of a protocol. Paths are relative to the working folder."""

    name: Name
    """Results of different names do not compare."""
    prompts: Name
    """CSV, JSON or text file of prompts, as `mcm.evaluation.prompts` reads them."""
    count: Annotated[int, Field(ge=2)] | None = None
    """Prompts to use; null: all."""
    frames: Count = 16
    """Frames of a clip."""
    size: Size | None = None
    """Height and width; null: the model's own."""
    fps: Count = 8
    """Frames per second of real and shown clips."""
    videos: Name | None = None
    """Real videos that FVD and FID compare with: folder with captions, or shards."""
    images: Name | None = None
    """Real images that the second FID compares with."""
    video_extractor: VideoExtractor | None = None
    """Network of FVD; null leaves it out."""
    inception: Name | None = None
    """TorchScript Inception of FID; null leaves it out."""
    clip: Name | None = None
    """Folder of a CLIP model for CLIPSIM; null leaves it out."""
    real: Annotated[int, Field(ge=2)] = 2048
    """Most real videos and images to compare with."""


@dataclass(frozen=True)
class ListProtocol:
    """A protocol from a file; fields as there."""

    file: ProtocolFile

    @classmethod
    def load(cls, path: Path) -> ListProtocol:
        """Read a protocol.

        Raises:
            UserError: The file is wrong, or a network lacks what it is compared with.
        """
        file = read(path, ProtocolFile)
        if (file.video_extractor or file.inception) and not (file.videos or file.images):
            raise UserError(f"{path}: videos: missing; Fréchet distances compare with real ones")
        if file.video_extractor and not file.videos:
            raise UserError(f"{path}: videos: missing; video_extractor compares with real videos")
        extractor = file.video_extractor.weights if file.video_extractor else None
        places = {"video_extractor.weights": extractor, "inception": file.inception}
        for field, place in {**places, "clip": file.clip}.items():
            if place and not Path(place).exists():
                raise UserError(
                    f"{path}: {field}: {place} is not there; expected a local file or folder of "
                    "the network, as nothing is fetched"
                )
        return cls(file)

    @property
    def name(self) -> str:
        """Results of different protocols do not compare."""
        return self.file.name

    @property
    def frames(self) -> int | None:
        """Frames of a clip."""
        return self.file.frames

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of a clip."""
        return self.file.size

    @property
    def fps(self) -> int:
        """Frames per second of clips to show."""
        return self.file.fps

    def requests(self, count: int | None = None) -> list[Request]:
        """Return the prompts, each with its number as seed."""
        prompts = read_prompts(Path(self.file.prompts), count or self.file.count)
        return [Request(f"{n:05}", prompt, n) for n, prompt in enumerate(prompts)]

    def metrics(self) -> list[Metric]:
        """Return what can be measured with the networks and the real material there are."""
        file, metrics = self.file, list[Metric]()
        fvd, fid_video, fid_image = DISTANCES
        if file.video_extractor:
            metrics.append(fvd)
        if file.inception and file.videos:
            metrics.append(fid_video)
        if file.inception and file.images:
            metrics.append(fid_image)
        if self._similarity:
            metrics += [self._similarity]
        if file.video_extractor:
            metrics += [Diversity("video_features", REAL_VIDEOS)]
        return [
            *metrics,
            FrameSharpness(),
            NearBlackRate(),
            RefusedRate(),
            WarpingError(),
            FlowAgreement(),
            FlowError(),
            SecondsPerClip(),
        ]

    def observers(self, metrics: Sequence[Metric]) -> list[Observer]:
        """Return the networks that the metrics read, each loaded once."""
        found: dict[str, Observer] = {}
        for metric in metrics:
            if isinstance(metric, MeanMetric) and metric.observer == metric.name:
                found[metric.name] = metric
            elif metric.observer not in found:
                found[metric.observer] = self._observer(metric.observer)
        return list(found.values())

    def missing(self) -> dict[str, str]:
        """Return nothing: a network that the file leaves out takes its metrics along."""
        return {}

    def references(self) -> dict[str, Reference]:
        """Return the real videos and images."""
        found = {}
        if self.file.videos:
            found[REAL_VIDEOS] = Reference(len(self._videos), self._real_video, OF_VIDEOS)
        if self.file.images:
            found[REAL_IMAGES] = Reference(len(self._images), self._real_image, OF_STILLS)
        return found

    def facts(self) -> dict[str, Any]:
        """Return the file's values, and digests of the prompts, the real material and networks."""
        file = self.file
        extractor = file.video_extractor.weights if file.video_extractor else None
        networks = {"video": extractor, "inception": file.inception, "clip": file.clip}
        return {
            "name": file.name,
            "frames": file.frames,
            "size": file.size,
            "fps": file.fps,
            "prompts": digest_json(read_prompts(Path(file.prompts))),
            "videos": digest_samples(self._videos) if file.videos else None,
            "images": digest_samples(self._images) if file.images else None,
            "video_extractor": file.video_extractor.kind if file.video_extractor else None,
            "judges": {k: digest_files([Path(v)]) if v else None for k, v in networks.items()},
        }

    def _observer(self, name: str) -> Observer:
        if name == FlowObserver.name:
            return FlowObserver()
        if name == InceptionFeatures.name:
            return self._inception
        return self._video_features

    @cached_property
    def _similarity(self) -> ClipSimilarity | None:
        return ClipSimilarity(Path(self.file.clip)) if self.file.clip else None

    @cached_property
    def _inception(self) -> InceptionFeatures:
        assert self.file.inception is not None
        return InceptionFeatures(Path(self.file.inception))

    @cached_property
    def _video_features(self) -> I3dFeatures | VideoMaeFeatures:
        extractor = self.file.video_extractor
        assert extractor is not None
        weights = Path(extractor.weights)
        return I3dFeatures(weights) if extractor.kind == "i3d" else VideoMaeFeatures(weights)

    @cached_property
    def _videos(self) -> list[Sample]:
        return _samples(self.file.videos, self.file.real)

    @cached_property
    def _images(self) -> list[Sample]:
        return _samples(self.file.images, self.file.real)

    def _real_video(self, request: Request) -> EvaluationClip:
        sample, file = self._videos[request.seed], self.file
        place = f"{file.videos}: {sample.file}"
        frames = read_video(
            sample.media, frames=file.frames, fps=file.fps, size=file.size, file=place
        )
        return EvaluationClip(request.key, frames, sample.caption)

    def _real_image(self, request: Request) -> EvaluationClip:
        sample = self._images[request.seed]
        place = f"{self.file.images}: {sample.file}"
        image = read_image(sample.media, size=self.file.size, file=place)
        return EvaluationClip(request.key, np.asarray(image)[None], sample.caption)


def _samples(place: str | None, most: int) -> list[Sample]:
    assert place is not None
    items = list(islice(open_source(place), most))
    found = [item for item in items if isinstance(item, Sample)]
    bad = [item for item in items if not isinstance(item, Sample)]
    if bad:
        warnings.warn(
            f"{place}: {len(bad)} of {len(items)} samples are left out, the first is {bad[0]}",
            ModelWarning,
            stacklevel=2,
        )
    if len(found) < 2:
        raise UserError(f"{place}: holds {len(found)} usable samples, expected two at least")
    return found
