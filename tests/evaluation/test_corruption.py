from __future__ import annotations

import torch

from mcm.evaluation.corruption import PLAYBACKS, played, spoilt, warped


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pictures_lie_between_clean_and_poor() -> None:
    pairs = torch.zeros(400, 2, 1, 3, 8, 8, dtype=torch.uint8)
    pairs[:, 1] = 255
    x, measures = spoilt(pairs, chance())
    poor = measures[:, 0]
    torch.testing.assert_close(x[:, 0, 0, 4, 4], 2 * poor - 1, rtol=0, atol=1e-5)
    assert 0.1 < (poor == 0).float().mean() < 0.3
    assert 0.1 < (poor == 1).float().mean() < 0.35
    assert (measures[:, 1] == 0).float().mean() > 0.4


def test_no_strength_bends_nothing_and_more_bends_more() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(4, 2, 3, 32, 32).contiguous()
    strength = torch.tensor([0.0, 0.2, 0.5, 1.0])
    bent = warped(ramp, strength, chance())
    change = (bent - ramp).abs().mean((1, 2, 3, 4))
    assert change[0] < 1e-5
    assert change[1] < change[3]


def test_playbacks() -> None:
    x = torch.arange(16.0).view(1, 16, 1, 1, 1).expand(4, 16, 3, 8, 8).contiguous()
    x = x + torch.rand(8, 8, generator=chance()) / 2
    out = played(x, torch.arange(4), chance(1))
    forward, shuffled, frozen, jumping = out
    assert PLAYBACKS == ("forward", "shuffled", "frozen", "jumping")
    assert torch.equal(forward, x[0])
    assert not torch.equal(shuffled, x[1])
    assert torch.equal(shuffled.sum(), x[1].sum())
    assert (frozen == frozen[:1]).all()
    assert torch.equal(jumping.sort(dim=3)[0].sum(), x[3].sort(dim=3)[0].sum())
    assert not torch.equal(jumping, x[3])
