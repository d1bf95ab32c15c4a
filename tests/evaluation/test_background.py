from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.real import empty_clip, stamped

from mcm.data.fluent.scene import BACKGROUNDS
from mcm.evaluation.background import NONE, background_name


@pytest.mark.parametrize("colour", BACKGROUNDS)
def test_backgrounds_are_named(colour: str) -> None:
    assert background_name(stamped(empty_clip(colour))) == colour


def test_a_background_of_no_named_colour() -> None:
    assert background_name(np.zeros((4, 128, 128, 3), dtype=np.uint8)) == NONE
