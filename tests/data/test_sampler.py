from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcm.data.sampler import EpochSampler
from mcm.errors import UserError

counts = st.integers(1, 30)


def drawn(sampler: EpochSampler, steps: int) -> list[int]:
    """Return what all ranks draw in some steps, in the order of the endless row."""
    ranks = range(sampler.world_size)
    per_rank = [
        EpochSampler(sampler.seed, sampler.size, sampler.batch_size, sampler.world_size, rank)
        for rank in ranks
    ]
    return [index for step in range(steps) for rank in per_rank for index in rank.indices(step)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), counts, counts, st.integers(1, 4))
def test_every_epoch_has_every_sample_once(
    seed: int, size: int, batch_size: int, world_size: int
) -> None:
    steps = 2 * size // (batch_size * world_size) + 1
    row = drawn(EpochSampler(seed, size, batch_size, world_size), steps)
    for epoch in range(2):
        assert sorted(row[epoch * size : (epoch + 1) * size]) == list(range(size))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 5), st.integers(2, 4), st.integers(1, 6))
def test_ranks_share_no_sample_within_an_epoch(
    seed: int, batch_size: int, world_size: int, steps: int
) -> None:
    sampler = EpochSampler(seed, steps * batch_size * world_size, batch_size, world_size)
    assert set(Counter(drawn(sampler, steps)).values()) == {1}


def test_indices_are_a_pure_function_of_the_step() -> None:
    forwards = [EpochSampler(7, 50, 8).indices(step) for step in range(20)]
    sampler = EpochSampler(7, 50, 8)
    backwards = [sampler.indices(step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_seed_and_epoch_change_the_order() -> None:
    orders = [EpochSampler(seed, 40, 40).indices(step) for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_the_order_is_the_same_on_every_machine() -> None:
    assert EpochSampler(3, 10, 10).indices(0) == [0, 4, 9, 7, 1, 5, 6, 3, 8, 2]


def test_epoch_counts_passes() -> None:
    assert EpochSampler(0, 40, 5, world_size=2).epoch(6) == 1.5


@pytest.mark.parametrize(
    ("field", "values"),
    [("size", (0, 0, 1)), ("batch_size", (0, 1, 0)), ("rank", (0, 4, 2, 2, 2))],
)
def test_impossible_numbers_are_refused(field: str, values: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=f"^{field}: got"):
        EpochSampler(*values)
