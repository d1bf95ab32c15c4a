"""The order in which training sees the data: a pure function of seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mcm.errors import UserError


@dataclass(frozen=True)
class EpochSampler:
    """Every sample once an epoch, in an order drawn anew for each epoch.

    The epochs' permutations π₀, π₁, … stand in one endless row; step s of rank r takes the
    `batch_size` places from (s · world_size + r) · batch_size on. Nothing is remembered between
    calls, so a resumed run continues exactly, and ranks never share a place.

    Attributes:
        seed: Seed of all permutations.
        size: Number of samples.
        batch_size: Samples per step and rank.
        world_size: Number of ranks.
        rank: This rank, 0 ≤ rank < world_size.
    """

    seed: int
    size: int
    batch_size: int
    world_size: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "batch_size", "world_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: got {getattr(self, name)}, expected 1 or more")
        if not 0 <= self.rank < self.world_size:
            raise UserError(f"rank: got {self.rank}, expected 0 to {self.world_size - 1}")

    def indices(self, step: int) -> list[int]:
        """Return the sample numbers of a step (from 0) on this rank."""
        first = (step * self.world_size + self.rank) * self.batch_size
        places = (divmod(place, self.size) for place in range(first, first + self.batch_size))
        return [int(_permutation(self.seed, epoch, self.size)[place]) for epoch, place in places]

    def epoch(self, step: int) -> float:
        """Return how many passes over the data have been made before a step."""
        return step * self.world_size * self.batch_size / self.size


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return π of an epoch: argsort of random 64-bit words, ties in order."""
    words = np.random.PCG64(np.random.SeedSequence((seed, epoch))).random_raw(size)
    return np.argsort(words, kind="stable")
