"""Seconds of a step from those of its operations."""

from __future__ import annotations

import itertools

import pytest
import torch

from mcm.doctor import timing
from mcm.doctor.ledger import Operation, Shape


def product(size: int) -> Operation:
    matrix = Shape((size, size), (size, 1), torch.float32)
    return Operation(torch.ops.aten.mm.default, (matrix, matrix), (), 2 * size**3)


def slower_when_small(operation: Operation) -> float:
    return operation.flops / (1e9 if operation.flops > 10**6 else 1e8)


def tried_within(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """Let the clock stand at one second more each time; return what will have been tried."""
    ticks, tried = itertools.count(), []

    def run(operation: Operation) -> float:
        tried.append(operation)
        return slower_when_small(operation)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(timing, "_try", run)
    monkeypatch.setattr(timing, "_overhead", lambda: 0.0)
    return tried


def test_what_is_not_tried_is_as_fast_as_its_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = {product(1000): 1, product(50): 2000, product(900): 1, product(40): 1000}
    tried = tried_within(monkeypatch)
    predicted = timing.predict_seconds(operations, budget=2.5)
    assert [one.flops for one in tried] == [2 * 1000**3, 2 * 900**3]
    assert predicted == pytest.approx(sum(n * one.flops / 1e9 for one, n in operations.items()))
    tried = tried_within(monkeypatch)
    predicted = timing.predict_seconds(operations, budget=4)
    assert [one.flops for one in tried][2:] == [2 * 50**3]
    true = sum(count * slower_when_small(one) for one, count in operations.items())
    assert predicted == pytest.approx(true)


def test_real_operations_take_the_time_that_they_take() -> None:
    operations = {product(512): 20, product(256): 20}
    matrices = [torch.full((size, size), 0.5) for size in (512, 256)]
    now = timing.clock()
    ratios = []
    for _ in range(5):
        start = now()
        for matrix in matrices:
            for _ in range(20):
                matrix @ matrix
        ratios.append(timing.predict_seconds(operations, budget=2) / (now() - start))
    assert 0.4 < sorted(ratios)[2] < 2.5


def test_a_step_without_operations_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_overhead", lambda: 0.0)
    assert timing.predict_seconds({}, budget=1) == 0
