"""Does a clip show what its prompt says: the cosine of clip and text, as CLIP similarity."""

from __future__ import annotations

from mcm.evaluation.features import ClipFeatures
from mcm.evaluation.metric import MeanMetric, Observation


class TextAlignment(MeanMetric):
    """Mean cosine between features of clip and prompt, −1 to 1.

    Hessel et al., *CLIPScore*, 2021 (arXiv 2104.08718), with towers trained on the embedded world.
    """

    name = "alignment"
    title = "text alignment"
    observer = ClipFeatures.name

    def value(self, seen: Observation, reference: Observation | None = None) -> float:
        """Return the cosine of a clip."""
        return float(seen["alignment"])
