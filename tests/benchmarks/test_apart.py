from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import apart


def test_gaps_are_counted_in_standard_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        {"real": 1.0, "fake": 0.0, "clip_real": 3.0, "clip_fake": 3.0},
        {"real": 3.0, "fake": 1.0, "clip_real": 1.0, "clip_fake": 1.5},
        {"real": 4.0, "fake": 1.0, "clip_real": 1.0, "clip_fake": 0.5},
    ]
    answers = iter({k: torch.tensor(v) for k, v in one.items()} for one in said)
    objective: Any = SimpleNamespace(critic_step=lambda judged, generator: next(answers))
    monkeypatch.setattr(apart, "look", lambda *ignored: None)
    found = apart.gaps(objective, [None] * 3, torch.Generator())  # type: ignore[list-item]
    assert found == pytest.approx({"frames": 2.0, "clips": 0.0})
