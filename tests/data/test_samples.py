import json
from pathlib import Path

import pytest

from mcm.data.samples import Sample, SampleError, SkipReport, read_skipped
from mcm.errors import UserError


def sample(number: int) -> Sample:
    return Sample(f"s{number}", "a fox", b"", f"s{number}.MP4")


def bad(number: int) -> SampleError:
    return SampleError(f"b{number}.mp4", "corrupt", "no frames")


def test_suffix_is_lower_case_without_dot() -> None:
    assert sample(0).suffix == "mp4"


def test_good_samples_pass_and_bad_ones_are_counted_and_named(tmp_path: Path) -> None:
    report = SkipReport(tmp_path / "skipped.jsonl")
    short = SampleError("c.mp4", "too short", "ä")
    items = [sample(0), bad(0), sample(1), sample(2), bad(1), short, sample(3)]
    assert [item.key for item in report.only_good(items)] == ["s0", "s1", "s2", "s3"]
    assert report.summary() == "3 of 7 samples skipped (2 corrupt, 1 too short)"
    report.write()
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["b0.mp4", "b1.mp4", "c.mp4"]
    assert rows[2] == {"file": "c.mp4", "reason": "too short", "detail": "ä"}
    assert [str(e) for e in read_skipped(tmp_path / "skipped.jsonl", 2)] == [
        str(bad(0)),
        str(bad(1)),
    ]


def test_nothing_skipped_is_a_plain_summary() -> None:
    report = SkipReport()
    list(report.only_good([sample(0)]))
    assert report.summary() == "0 of 1 samples skipped"


def test_half_bad_is_accepted_and_more_is_not(tmp_path: Path) -> None:
    list(SkipReport().only_good([sample(0), bad(0)]))
    report = SkipReport(tmp_path / "skipped.jsonl")
    with pytest.raises(UserError, match=r"2 of 3 samples skipped.*more than 50%.*b1\.mp4: corrupt"):
        list(report.only_good([sample(0), bad(0), bad(1)]))
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 2


def test_wrong_data_is_noticed_early() -> None:
    passed = []
    with pytest.raises(UserError, match="16 of 16"):
        for item in SkipReport().only_good(bad(number) for number in range(10**9)):
            passed.append(item)
    assert passed == []


def test_the_accepted_fraction_can_be_set() -> None:
    report = SkipReport(most_bad=0.9)
    assert len(list(report.only_good([sample(0), *map(bad, range(9))]))) == 1
    with pytest.raises(UserError):
        list(SkipReport(most_bad=0.0).only_good([*map(sample, range(99)), bad(0)]))
