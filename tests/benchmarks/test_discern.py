import torch
from benchmarks.discern import _chosen


def test_what_is_held_out_is_never_learnt_from() -> None:
    generator = torch.Generator().manual_seed(0)
    learnt = set(_chosen(2000, 12, False, generator).tolist())
    held = set(_chosen(2000, 12, True, generator).tolist())
    assert learnt == set(range(9))
    assert held == {9, 10, 11}
