from __future__ import annotations

import numpy as np
import pytest
from benchmarks.edit import Task, measure, path_distance
from tests.evaluation.real import real_clip


def test_an_object_elsewhere_is_off_by_how_far_it_went() -> None:
    frames = real_clip("bounce")
    moved = np.roll(frames, 6, axis=2)
    assert path_distance(frames, frames) == 0
    assert path_distance(moved, frames) == pytest.approx(6, abs=0.5)


def test_what_nothing_was_done_to_keeps_everything() -> None:
    tasks = [Task(real_clip(motion), "") for motion in ("left", "up")]
    kept = measure(tasks, lambda number, task: task.frames)
    assert kept.path.value == kept.change.value == 0
    assert kept.flow.value == pytest.approx(1, abs=1e-3)
    other = measure(tasks, lambda number, task: tasks[1 - number].frames)
    assert other.path.value > 3
    assert other.flow.value < 0.6
    assert other.change.value > 5
