"""Heads on inner layers learn places and words, and tell the network about both."""

import math

import pytest
import torch
from diffusers import UNetMotionModel
from tests.teacher.test_adaptation import video_unet

from mcm.data.fluent.scene import MOTIONS
from mcm.teacher.motion import supervised
from mcm.teacher.supervision import EDGE, place_maps, supervision_losses

PLACES = torch.tensor([[[40.0, 88.0, 60.0, 0.0, 180.0], [80.0, 64.0, 40.0, 0.0, 0.0]]])


@pytest.mark.parametrize("size", [4, 8, 16])
def test_maps_show_size_place_and_turn(size: int) -> None:
    """∫ sigmoid((r − d) / w) over the plane is π (r² + π² w² / 3)."""
    maps = place_maps(PLACES, size)
    assert maps.shape == (1, 2, 3, size, size)
    at = (torch.arange(size) + 0.5) * 128 / size
    presence = maps[0, :, 0]
    area = presence.sum((1, 2)) * (128 / size) ** 2
    for found, (x, y, side, *_) in zip(range(2), PLACES[0].tolist(), strict=True):
        disc = math.pi * ((0.44 * side) ** 2 + (math.pi * EDGE) ** 2 / 3)
        assert area[found].item() == pytest.approx(disc, rel=0.02)
        share = presence[found] / presence[found].sum()
        assert (share.sum(0) @ at).item() == pytest.approx(x, abs=1.0)
        assert (share.sum(1) @ at).item() == pytest.approx(y, abs=1.0)
    torch.testing.assert_close(maps[0, 0, 1:], torch.stack([-presence[0], 0 * presence[0]]))
    torch.testing.assert_close(maps[0, 1, 1:], torch.stack([presence[1], 0 * presence[1]]))


def test_an_object_seen_from_its_edge_is_a_thin_map_without_a_turn() -> None:
    maps = place_maps(torch.tensor([[[64.0, 64.0, 80.0, 0.0, 90.0]]]), 16)[0, 0]
    lit = maps[0] > 0.25
    assert lit.any(1).sum() > 3 * lit.any(0).sum()
    torch.testing.assert_close(maps[1], torch.zeros(16, 16), atol=1e-6, rtol=0)
    torch.testing.assert_close(maps[2], maps[0])


def network() -> UNetMotionModel:
    torch.manual_seed(0)
    return video_unet()


def test_every_motion_module_is_asked_and_the_sample_stays() -> None:
    unet = network()
    x, t = torch.randn(2, unet.config["in_channels"], 3, 8, 8), torch.tensor([5, 900])
    text = torch.randn(2 * 3, 7, unet.config["cross_attention_dim"])
    plain = unet(x, t, text).sample
    asked = supervised(unet)
    for parameter in asked.parameters_of_heads():
        torch.nn.init.normal_(parameter)
    sample, maps, words = asked(x, t, text)
    assert torch.equal(sample, plain)
    modules = {
        name for name, _ in unet.named_modules() if name.split(".")[-2:-1] == ["motion_modules"]
    }
    assert len(maps) == len(words) == len(modules)
    assert all(found.shape[:2] == (6, 3) for found in maps)
    assert all(found.shape == (2, len(MOTIONS) + 1) for found in words)
    inner = supervision_losses(maps, words, PLACES.repeat(2, 2, 1)[:, :3], torch.tensor([0, 9]))
    torch.stack(list(inner.values())).sum().backward()
    assert unet.conv_in.weight.grad is not None and unet.conv_in.weight.grad.any()


def test_clips_in_which_nothing_turns_have_finite_losses() -> None:
    still = PLACES.clone()
    still[..., 4] = 0
    maps = [torch.zeros(2, 3, size, size, requires_grad=True) for size in (4, 8)]
    words = [torch.zeros(1, len(MOTIONS) + 1)]
    place = supervision_losses(maps, words, still, torch.tensor([3]))["place"]
    place.backward()
    assert place.isfinite() and 0.3 < place < 3
    assert all(found.grad is not None and found.grad.isfinite().all() for found in maps)


def test_right_answers_cost_nothing() -> None:
    maps = [place_maps(PLACES, size).flatten(0, 1) for size in (4, 8)]
    words = [torch.full((1, len(MOTIONS) + 1), -30.0).index_fill(1, torch.tensor([3]), 30.0)]
    found = supervision_losses(maps, words, PLACES, torch.tensor([3]))
    assert found["place"] < 1e-6 and found["word"] < 1e-6
    wrong = supervision_losses(maps, words, PLACES + 20, torch.tensor([4]))
    assert wrong["place"] > 0.1 and wrong["word"] > 10
