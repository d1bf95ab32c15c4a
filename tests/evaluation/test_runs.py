from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Request, requests
from mcm.evaluation.refused import RefusedRate
from mcm.evaluation.runs import observations, observe_all, read_rows
from mcm.evaluation.speed import SecondsPerClip
from mcm.safety.guard import Refused


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


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    observe_all(make, requests(2), [SecondsPerClip()], path, {"model": "a"})
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, "}{", *rows]) + "\n")
    with pytest.raises(UserError, match=r"run\.jsonl: line 2 is broken; remove that line"):
        read_rows([path])
    path.write_bytes(b"\n".join([head.encode(), b'{"key": "\xff"}', b""]))
    with pytest.raises(UserError, match=r"line 2 is broken"):
        read_rows([path])
    path.write_text("\n".join([head, '{"prompt": "without a key"}', ""]))
    with pytest.raises(UserError, match=r"line 2 is broken"):
        read_rows([path])
    path.write_text("\n".join(["}{", *rows, ""]))
    with pytest.raises(UserError, match=r"line 1 is broken; remove the file, and its clips are"):
        observe_all(make, requests(2), [SecondsPerClip()], path, {"model": "a"})


def test_of_resolved_settings_only_those_that_are_asked_for_must_agree(tmp_path: Path) -> None:
    path, there = tmp_path / "run.jsonl", {"dtype": "float32", "device": "cpu"}
    observe_all(make, requests(2), [SecondsPerClip()], path, {"model": "a", "resolved": there})
    assert len(read_rows([path], {"model": "a", "resolved": {"dtype": "float32"}})) == 2
    with pytest.raises(UserError, match=r"resolved: .*bfloat16"):
        read_rows([path], {"model": "a", "resolved": {"dtype": "bfloat16"}})
    other = tmp_path / "other.jsonl"
    header = {"model": "a", "resolved": {**there, "device": "cuda"}}
    observe_all(make, requests(2), [SecondsPerClip()], other, header)
    with pytest.raises(UserError, match="another run"):
        read_rows([path, other], {"model": "a", "resolved": {"dtype": "float32"}})


def test_what_another_part_has_is_not_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def counted(request: Request) -> EvaluationClip:
        made.append(request.seed)
        return make(request)

    asked, seen_by, header = requests(4), [SecondsPerClip()], {"model": "a"}
    other = tmp_path / "other.jsonl"
    observe_all(counted, asked[::2], seen_by, other, header)
    rows = observe_all(counted, asked, seen_by, tmp_path / "all.jsonl", header, beside=[other])
    assert made == [0, 2, 1, 3]
    assert [row["seed"] for row in rows] == [0, 1, 2, 3]


def test_files_of_different_runs_are_not_read_together(tmp_path: Path) -> None:
    paths = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    for path, dtype in zip(paths, ("float32", "bfloat16"), strict=True):
        observe_all(make, requests(1), [], path, {"model": "a", "dtype": dtype})
    with pytest.raises(UserError, match=r"1\.jsonl: holds clips of another run \(dtype:"):
        read_rows(paths)
    with pytest.raises(UserError, match=r"0\.jsonl: .*model: 'a' there, 'b' here"):
        read_rows(paths[:1], {"model": "b"})


def test_a_file_that_was_only_begun_has_no_clips(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text('{"model"')
    assert read_rows([tmp_path / "0.jsonl"], {"model": "a"}) == []


def test_a_clip_refused_for_its_frames_is_counted_and_not_judged(tmp_path: Path) -> None:
    asked, seen_by = requests(4), [SecondsPerClip(), RefusedRate()]

    def choosy(request: Request) -> EvaluationClip:
        if request.seed == 2:
            raise Refused("clip: refused by the policy", ["frames"])
        return make(request)

    path = tmp_path / "run.jsonl"
    rows = observe_all(choosy, asked, seen_by, path, {"model": "a"})
    assert read_rows([path]) == rows
    assert RefusedRate().compute(observations(rows, "refused")).value == 0.25
    seconds = SecondsPerClip().compute(observations(rows, "seconds"))
    assert (seconds.count, seconds.value) == (3, (0 + 1 + 3) / 3)


@pytest.mark.parametrize("categories", [(), ("real_person",)])
def test_what_could_not_be_checked_or_made_ends_the_run(
    tmp_path: Path, categories: tuple[str, ...]
) -> None:
    def unmade(request: Request) -> EvaluationClip:
        raise Refused("refused", categories)

    with pytest.raises(Refused):
        observe_all(unmade, requests(1), [], tmp_path / "run.jsonl", {})
