from __future__ import annotations

import numpy as np
import pytest

from mcm.evaluation.decoded import DecodedClips
from mcm.evaluation.embedded import Look, RealClips, requests


@pytest.mark.parametrize("look", ["poor", "clean"])
def test_decoded_clips_are_other_real_ones_but_for_what_the_autoencoder_loses(look: Look) -> None:
    request = requests(1)[0]
    source = DecodedClips(look)
    decoded, again = source.clip(request), RealClips(look, again=True).clip(request)
    assert decoded.named == again.named
    assert decoded.frames_thwc.shape == again.frames_thwc.shape
    lost = np.abs(decoded.frames_thwc.astype(float) - again.frames_thwc)
    assert 0.5 < lost.mean() < 6
    other = RealClips(look).clip(request).frames_thwc.astype(float)
    assert np.abs(decoded.frames_thwc - other).mean() > 2 * lost.mean()
    assert len(source.weights) == 16
