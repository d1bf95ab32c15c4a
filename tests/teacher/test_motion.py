"""Some frames of a clip are seen at their own places in time."""

import pytest
import torch
from diffusers import UNetMotionModel
from tests.teacher.test_adaptation import video_unet
from torch import Tensor

from mcm.teacher.corpus import generator_of
from mcm.teacher.motion import Places, draw_places


def stirred() -> UNetMotionModel:
    network = video_unet().eval()
    generator = generator_of(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "motion_modules." in name and ".proj_out." in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


@torch.no_grad()
def seen(network: UNetMotionModel, x_bcthw: Tensor) -> Tensor:
    text = torch.ones(x_bcthw.shape[2], 7, network.config["cross_attention_dim"])
    predicted: Tensor = network(x_bcthw, torch.tensor([500]), text).sample
    return predicted


@pytest.mark.parametrize("count", [1, 5, 8, 16])
def test_places_rise_over_the_whole_clip(count: int) -> None:
    drawn = torch.stack([draw_places(16, count, generator_of(number)) for number in range(200)])
    assert (drawn.diff() > 0).all()
    assert set(drawn.flatten().tolist()) == set(range(16))
    assert (drawn[:, 0] <= 16 // count).all()
    assert count < 16 or (drawn == torch.arange(16)).all()


def test_frames_know_their_places_and_forget_them() -> None:
    network, x = stirred(), torch.randn(1, 16, 3, 8, 8, generator=generator_of(2))
    plain = seen(network, x)
    places = Places(network)
    places.set(torch.tensor([0, 1, 2]))
    assert torch.equal(seen(network, x), plain)
    places.set(torch.tensor([2, 9, 15]))
    spread = seen(network, x)
    assert (spread - plain).abs().max() > 1e-3
    places.set(torch.tensor([15, 9, 2]))
    torch.testing.assert_close(seen(network, x.flip(2)), spread.flip(2), atol=1e-4, rtol=1e-4)
    places.reset()
    assert torch.equal(seen(network, x), plain)
