"""Scenes: the split, and that every named motion does what its name says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import (
    BACKGROUNDS,
    FRAME_SIZE,
    MOTIONS,
    Combination,
    Motion,
    combinations,
    path,
    sample_scene,
    split_of,
)


def test_splits_are_disjoint_and_complete() -> None:
    train, evaluation = set(combinations("train")), set(combinations("evaluation"))
    assert not train & evaluation
    assert len(train | evaluation) == len(CONCEPTS) * len(MOTIONS) * len(BACKGROUNDS)
    assert len(evaluation) >= 512


def test_training_knows_every_pair_that_evaluation_combines() -> None:
    train = combinations("train")
    for first, second in (("concept", "motion"), ("concept", "background")):
        seen = {(getattr(c, first), getattr(c, second)) for c in train}
        asked = {(getattr(c, first), getattr(c, second)) for c in combinations("evaluation")}
        assert asked <= seen


def test_split_does_not_change() -> None:
    assert Counter(map(split_of, combinations("evaluation"))) == {"evaluation": 563}
    assert split_of(Combination(0, "left", "blue")) == "train"


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_does_what_its_name_says(motion: Motion) -> None:
    for seed in range(20):
        scene = sample_scene(Combination(seed, motion, "blue"), np.random.default_rng(seed))
        places = path(scene)
        dx = places[-1].x - places[0].x
        dy = places[-1].y - places[0].y
        turn = places[-1].turn - places[0].turn
        assert {place.angle for place in places} == {scene.tilt}
        growth = places[-1].size / places[0].size
        truth = {
            "left": dx < -30,
            "right": dx > 30,
            "up": dy < -30,
            "down": dy > 30,
            "bounce": np.ptp([place.y for place in places]) > 25 and abs(dy) < 1,
            "spin": turn > 330,
            "grow": growth > 1.5,
            "shrink": growth < 0.67,
            "still": dx == dy == turn == 0 and growth == 1,
        }
        assert truth[motion]


@pytest.mark.parametrize("motion", MOTIONS)
def test_objects_stay_in_the_frame(motion: Motion) -> None:
    """The centre keeps at least a third of the object's side from every edge."""
    for seed in range(50):
        scene = sample_scene(Combination(3, motion, "red"), np.random.default_rng(seed))
        for place in path(scene):
            margin = place.size / 3
            assert margin < place.x < FRAME_SIZE - margin
            assert margin < place.y < FRAME_SIZE - margin
