"""Randomness without memory: every draw of a step is a function of seed, step and rank."""

from __future__ import annotations

import random

import numpy as np
import torch


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return 63 random bits that belong to a step (from 0) on a rank."""
    words = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def seed_step(generator: torch.Generator, seed: int, step: int, rank: int) -> None:
    """Seed the objective's generator for a step, and Python's, NumPy's and torch's own.

    Nothing of ours draws from the latter three; a network with dropout would.
    """
    value = step_seed(seed, step, rank)
    generator.manual_seed(value)
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value % 2**32)
