from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import guidance
from mcm.data.fluent.render import decode
from mcm.data.fluent.world import World
from mcm.distillation.proxy import _FIRST


def video(prompt: str, steps: int, *, seed: int, guidance: float, sampler: str | None):
    """At a scale of 2 the very clip of the prompt, else one that stands still and is too bright."""
    frames = decode(World().poor_video(_FIRST + seed)[0])
    if guidance != 2:
        frames = np.clip(frames[:1].repeat(len(frames), 0).astype(int) + 60, 0, 255)
    return SimpleNamespace(frames=frames.astype(np.uint8))


def test_the_scale_of_true_clips_is_best(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guidance, "load", lambda name: SimpleNamespace(generate=video))
    guidance.main(["any", "--scales", "5", "2", "--clips", "3", "--real", "12"])
    *_, below, best, worst = capsys.readouterr().out.splitlines()
    assert set(below) == {"|", "-"}
    assert best.startswith("| 2 | ")
    assert "100%" in best
    assert best.endswith("** |")
    assert worst.startswith("| 5 | ")
    assert "**" not in worst
