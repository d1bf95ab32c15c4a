import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcm.distillation.draws import DrawConfig, draw, grid_indices, sparse_frames

CONFIG = DrawConfig(grid_points=10, guidance=(1.0, 3.0), real_fraction=0.3, drop_caption=0.2)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_shares_are_those_asked_for_sample_by_sample() -> None:
    draws = draw(CONFIG, (20_000, 1, 1, 1, 1), seeded())
    assert draws.real_b.float().mean() == pytest.approx(0.3, abs=0.015)
    assert (~draws.keep_b).float().mean() == pytest.approx(0.2, abs=0.015)
    together = (draws.real_b & draws.keep_b).float().mean()
    assert together == pytest.approx(0.3 * 0.8, abs=0.015)
    neighbours = (draws.real_b[1:] & draws.real_b[:-1]).float().mean()
    assert neighbours == pytest.approx(0.3**2, abs=0.015)
    counts = torch.bincount(draws.index_b, minlength=10) / 20_000
    assert counts.min() > 0.09 and counts.max() < 0.11
    assert 1.0 <= draws.w_b.min() < 1.01 and 2.99 < draws.w_b.max() <= 3.0


def test_guidance_goes_in_a_straight_line_between_both_ends_of_the_grid() -> None:
    config = DrawConfig(5, guidance=(3.0, 5.0), clean_guidance=(0.0, 1.0))
    draws = draw(config, (20_000, 1, 1, 1, 1), seeded())
    for index, (low, high) in enumerate([(0, 1), (0.75, 2), (1.5, 3), (2.25, 4), (3, 5)]):
        w = draws.w_b[draws.index_b == index]
        assert low <= w.min() < low + 0.02
        assert high - 0.02 < w.max() <= high
    same = draw(DrawConfig(5, (3.0, 5.0), clean_guidance=(3.0, 5.0)), (64, 1, 1, 1, 1), seeded())
    plain = draw(DrawConfig(5, (3.0, 5.0)), (64, 1, 1, 1, 1), seeded())
    torch.testing.assert_close(vars(same), vars(plain), atol=0, rtol=0)


def test_time_weights_are_of_equal_parts_of_the_grid() -> None:
    config = DrawConfig(8, (0.0, 0.0), time_weights=(0.0, 1.0, 1.0, 2.0))
    counts = torch.bincount(grid_indices(config, 20_000, seeded()), minlength=8) / 20_000
    expected = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2]) / 8
    torch.testing.assert_close(counts, expected, atol=0.015, rtol=0)


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 40), count=st.integers(1, 8), seed=st.integers(0, 99))
def test_sparse_frames_come_one_from_each_segment(frames: int, count: int, seed: int) -> None:
    chosen = sparse_frames(3, frames, count, torch.Generator().manual_seed(seed))
    assert chosen.shape == (3, count)
    for k in range(count):
        low, high = k * frames // count, min(frames - 1, -(-(k + 1) * frames // count))
        assert ((chosen[:, k] >= low) & (chosen[:, k] <= high)).all()


def test_same_generator_state_same_draws() -> None:
    first, second = (vars(draw(CONFIG, (3, 2, 2, 2, 2), seeded())) for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
