from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Request, requests
from mcm.evaluation.runs import observations, observe_all, read_rows
from mcm.evaluation.speed import SecondsPerClip


def make(request: Request) -> EvaluationClip:
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    return EvaluationClip(request.key, frames, request.prompt, seconds=float(request.seed))


def test_parts_read_together_are_the_whole(tmp_path: Path) -> None:
    asked, seen_by = requests(5), [SecondsPerClip()]
    whole = observe_all(make, asked, seen_by, tmp_path / "whole.jsonl", {"model": "a"})
    for part in range(2):
        path = tmp_path / f"{part}.jsonl"
        observe_all(make, asked[part::2], seen_by, path, {"model": "a"})
    assert read_rows([tmp_path / "1.jsonl", tmp_path / "0.jsonl"]) == whole


def test_what_nobody_saw_is_named(tmp_path: Path) -> None:
    rows = observe_all(make, requests(2), [], tmp_path / "run.jsonl", {})
    with pytest.raises(UserError, match="clip 00000: 'seconds' has not seen it"):
        observations(rows, "seconds")


def test_a_row_torn_by_a_crash_is_made_again(tmp_path: Path) -> None:
    path, asked = tmp_path / "run.jsonl", requests(3)
    whole = observe_all(make, asked, [SecondsPerClip()], path, {"model": "a"})
    text = path.read_text()
    path.write_text(text[: len(text) - 9])
    assert len(read_rows([path])) == 2
    assert observe_all(make, asked, [SecondsPerClip()], path, {"model": "a"}) == whole
    assert path.read_text() == text
