"""Seconds of a step: every operation of the account is run by itself on this machine."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import log, prod
from typing import Any

import torch
from torch import Tensor, nn

from mcm.doctor.ledger import Operation, Shape

BUDGET = 120.0
_ENOUGH = 0.02


def predict_seconds(operations: Mapping[Operation, int], budget: float = BUDGET) -> float:
    """Return the seconds of a step on the CPU.

    Products (convolutions, matrix products, attention) are timed by their floating-point
    operations, all others by the bytes they read. Of each sort those that matter most are run
    first; when its part of the budget is spent, the rest are taken to be as fast as the one nearest
    in size of their function, or else of their sort.

    Args:
        operations: How often each is called.
        budget: Seconds to spend on trying, four fifths of them on products.
    """
    products = {one: count for one, count in operations.items() if one.flops}
    others = {one: count for one, count in operations.items() if not one.flops}
    seconds = _seconds_of(products, 0.8 * budget) + _seconds_of(others, 0.2 * budget)
    return seconds + _overhead() * sum(operations.values())


def _seconds_of(operations: Mapping[Operation, int], budget: float) -> float:
    began, total = time.perf_counter(), 0.0
    tried: defaultdict[Any, list[tuple[int, float]]] = defaultdict(list)
    rest: Counter[Operation] = Counter()
    ordered = sorted(operations.items(), key=lambda item: _work(item[0]) * item[1], reverse=True)
    for operation, count in ordered:
        late = time.perf_counter() - began > budget
        seconds = None if late else _try(operation)
        if seconds is None:
            rest[operation] += count
            continue
        total += count * seconds
        for kind in (operation.function, None):
            tried[kind].append((_work(operation), seconds))
    for operation, count in rest.items():
        alike = tried[operation.function if operation.function in tried else None]
        total += count * _seconds_by_rate(_work(operation), alike)
    return total


def _seconds_by_rate(work: int, tried: Sequence[tuple[int, float]]) -> float:
    """Return the seconds of some work at the rate of what was tried nearest to it in size."""
    near, seconds = min(tried, key=lambda one: abs(log(one[0] / work)), default=(1, 0.0))
    return seconds * work / near


def clock() -> Callable[[], float]:
    """Return a clock that, with one thread, does not see what else the machine does."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def _work(operation: Operation) -> int:
    return operation.flops or _bytes(operation)


def _bytes(operation: Operation) -> int:
    return sum(prod(s.sizes) * s.dtype.itemsize for s in _shapes(operation.arguments)) + 1


def _shapes(value: Any) -> list[Shape]:
    if isinstance(value, Shape):
        return [value]
    return [s for item in value for s in _shapes(item)] if isinstance(value, tuple) else []


@torch.no_grad()
def _try(operation: Operation) -> float | None:
    """Return the seconds of one call, or ``None`` if it cannot be called by itself."""
    arguments = [_real(value) for value in operation.arguments]
    options = {key: _real(value) for key, value in operation.options}
    now = clock()
    try:
        start = now()
        operation.function(*arguments, **options)
        first = now() - start
        if first > _ENOUGH:
            return first
        repeats = 1 + int(_ENOUGH / 4 / max(first, 1e-5))
        start = now()
        for _ in range(repeats):
            operation.function(*arguments, **options)
        return (now() - start) / repeats
    except (RuntimeError, TypeError, IndexError):
        return None


def _real(value: Any) -> Any:
    if isinstance(value, Shape):
        return _tensor(value)
    return [_real(item) for item in value] if isinstance(value, tuple) else value


def _tensor(shape: Shape) -> Tensor:
    empty = torch.empty_strided(shape.sizes, shape.strides, dtype=shape.dtype)
    return empty.fill_(0.5) if shape.dtype.is_floating_point else empty.zero_()


def _overhead() -> float:
    """Return the seconds that modules and gradients add to a call of an operation."""
    layers = nn.Sequential(*(nn.SiLU() for _ in range(300)))
    x = torch.ones(4, requires_grad=True)
    now, silu = clock(), torch.ops.aten.silu.default
    layers(x).sum().backward()
    start = now()
    layers(x).sum().backward()
    whole = (now() - start) / 600
    bare = torch.ones(4)
    start = now()
    for _ in range(600):
        silu(bare)
    return max(0.0, whole - (now() - start) / 600)
