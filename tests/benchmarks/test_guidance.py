from __future__ import annotations

from pathlib import Path
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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(guidance, "load", lambda name: SimpleNamespace(generate=video))
    file = tmp_path / "table.md"
    call = ["any", "--scales", "5", "2", "--clips", "3", "--real", "12", "-o", str(file)]
    guidance.main(call)
    table = capsys.readouterr().out.splitlines()[-4:]
    _, below, best, worst = table
    assert file.read_text().startswith("\n".join(table))
    assert "guidance.py any --scales 5 2 --clips 3" in file.read_text()
    assert set(below) == {"|", "-"}
    assert best.startswith("| 2 | ")
    assert "100%" in best
    assert best.endswith("** |")
    assert worst.startswith("| 5 | ")
    assert "**" not in worst
