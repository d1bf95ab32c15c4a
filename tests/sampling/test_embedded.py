"""The students in the package do what prompts say, as the independent judges see it."""

from __future__ import annotations

import pytest

from mcm.data.fluent.scene import Motion
from mcm.evaluation.motion import named_motion
from mcm.evaluation.tracking import track
from mcm.evaluation.watermark import THRESHOLD, watermark_score
from mcm.sampling.catalog import embedded_models, find_model
from mcm.sampling.loading import load

PROMPTS: dict[str, Motion] = {
    "a fox moving left on a blue background": "left",
    "a rocket moving right on a green background": "right",
    "a turtle moving up on a yellow background": "up",
    "a rabbit moving down on a pink background": "down",
    "a tiger growing on a gray background": "grow",
    "a cow shrinking on a purple background": "shrink",
}
STUDENTS = [name for name in embedded_models() if find_model(name).student is not None]


def test_the_package_holds_a_student() -> None:
    assert "fluent-mcm" in STUDENTS


@pytest.mark.parametrize(("name", "steps"), [*((name, 4) for name in STUDENTS), ("fluent-dit", 12)])
def test_named_motions_happen(name: str, steps: int) -> None:
    clips = load(name).generate_batch(list(PROMPTS), steps=steps, seeds=range(len(PROMPTS)))
    seen = [named_motion(track(clip.frames)) for clip in clips]
    assert sum(map(str.__eq__, seen, PROMPTS.values())) >= len(PROMPTS) - 1, seen


def test_the_first_student_looks_like_its_training_videos() -> None:
    clip = load("fluent-mcm").generate("a fox moving left on a blue background", steps=4, seed=7)
    assert clip.frames.shape == (16, 128, 128, 3)
    assert watermark_score(clip.frames).value > THRESHOLD
    background = clip.frames[:, :20, :20].mean((0, 1, 2))
    assert background.argmax() == 2
