"""What an autoencoder leaves of real clips: as near as any model that decodes with it can come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from mcm.digests import digest_files
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Look, RealClips, Request
from mcm.sampling.catalog import find_model
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel


@dataclass(frozen=True)
class DecodedClips:
    """Real clips drawn again, encoded and decoded.

    Attributes:
        look: As of :class:`RealClips`.
        model: Embedded name or folder of the model whose autoencoder it is.
    """

    look: Look
    model: str = "fluent"

    @cached_property
    def weights(self) -> str:
        """A digest of the autoencoder."""
        return digest_files([find_model(self.model).teacher / "vae"])

    def clip(self, request: Request) -> EvaluationClip:
        """Return the decoded clip that a request asks for."""
        real = RealClips(self.look, again=True).clip(request)
        return replace(real, frames_thwc=self._video_model.reconstruct(real.frames_thwc))

    @cached_property
    def _video_model(self) -> VideoModel:
        return load(self.model)
