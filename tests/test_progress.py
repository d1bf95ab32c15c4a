import io

import pytest

from mcm.progress import Meter, progress, track


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_status_tells_part_rate_time_left_and_skipped() -> None:
    clock = Clock()
    meter = Meter(512, clock)
    meter.add(128, 3)
    clock.now = 32.0
    assert meter.status() == "128/512 (25%), 4/s, 1:36 left, 3 skipped"
    clock.now = 128 * 60.0
    assert "6:24:00 left" in meter.status()


def test_earlier_work_counts_for_the_part_and_not_for_the_rate() -> None:
    clock = Clock()
    meter = Meter(100, clock, done=50)
    meter.add(10, 0)
    clock.now = 5.0
    assert meter.status() == "60/100 (60%), 2/s, 0:20 left"


def test_time_that_ends_before_the_work_counts() -> None:
    clock = Clock()
    meter = Meter(2000, clock, seconds=60.0)
    clock.now = 20.0
    meter.add(10, 0)
    assert meter.status() == "10/2000 (33%), 0.5/s, 0:40 left"
    meter.add(1990, 0)
    assert meter.status() == "2000/2000 (100%), 100/s"


def test_without_total_there_is_no_time_left() -> None:
    clock = Clock()
    meter = Meter(None, clock)
    clock.now = 2.0
    meter.add(5, 0)
    assert meter.status() == "5, 2.5/s"


def test_elsewhere_than_on_a_terminal_lines_come_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    for _ in track(range(25), "count", stream=stream, clock=clock):
        clock.now += 1.0
    assert stream.getvalue().splitlines() == [
        "count: 10/25 (40%), 1/s, 0:15 left",
        "count: 20/25 (80%), 1/s, 0:05 left",
        "count: 25/25 (100%), 1/s",
    ]


def test_the_last_line_also_comes_after_an_error() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(ZeroDivisionError),
        progress("work", 4, stream=stream, clock=Clock()) as bar,
    ):
        bar.advance(1, skipped=2)
        raise ZeroDivisionError
    assert stream.getvalue() == "work: 1/4 (25%), 0/s, 2 skipped\n"


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    assert list(track(iter("abc"), "letters", total=3, stream=stream)) == ["a", "b", "c"]
    assert "letters" in stream.getvalue()
    assert "3/3 (100%)" in stream.getvalue()


def test_invisible_progress_is_silent() -> None:
    stream = io.StringIO()
    assert list(track("abc", "letters", visible=False, stream=stream)) == ["a", "b", "c"]
    assert stream.getvalue() == ""
