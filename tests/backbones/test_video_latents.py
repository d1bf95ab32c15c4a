"""Coding of video, for every family alike."""

import pytest
import torch
from tests.backbones.family import every_family, folder_of
from tests.backbones.tiny_families import load_tiny
from torch import Tensor

from mcm.backbones.pipeline import PipelineBackbone


@every_family
def test_coding_is_that_of_the_stock_autoencoder(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    spec = backbone.spec
    video = torch.rand(2, 3, spec.frames, spec.height, spec.width) * 2 - 1
    latents = backbone.encode_video(video)
    assert latents.shape == (2, *spec.latent_shape())
    decoded = backbone.decode_frames(latents)
    assert decoded.shape == (2, spec.frames, 3, spec.height, spec.width)
    again = backbone.encode_video(decoded.transpose(1, 2))
    assert again.shape == latents.shape


def longer(backbone: PipelineBackbone) -> Tensor:
    """Return latents of 5 latent frames."""
    channels, _, *size = backbone.spec.latent_shape()
    return torch.randn(2, channels, 5, *size)


@every_family
@torch.no_grad()
def test_chosen_frames_are_those_of_all(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    latents = longer(backbone)
    whole = backbone.decode_frames(latents)
    assert whole.std() > 0.05
    last = 4 * backbone.spec.temporal_factor
    indices = torch.tensor([[0, last], [3, 2]])
    some = backbone.decode_frames(latents, indices)
    expected = torch.stack([whole[row, indices[row]] for row in range(2)])
    torch.testing.assert_close(some, expected, atol=1e-5, rtol=1e-5)


REACHED = {
    "modelscope": ("00001", "10000"),
    "wan": ("00001", "10000"),
    "wan-2.2": ("00001", "10000"),
    "fluent-dit": ("00001", "10000"),
    "cogvideox": ("00011", "11100"),
    "cogvideox-5b": ("00011", "11100"),
    "ltx": ("11111", "11111"),
}
"""Latent frames with gradient from the last frame and from the first, out of five."""


@every_family
def test_gradient_of_chosen_frames_reaches_their_chunk(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    latents = longer(backbone).requires_grad_()
    frame = 4 * backbone.spec.temporal_factor
    frames = backbone.decode_frames(latents, torch.tensor([[frame], [0]]))
    frames.square().sum().backward()
    assert latents.grad is not None
    reached = latents.grad.abs().sum(dim=(1, 3, 4)) > 0
    assert tuple("".join(str(int(one)) for one in row) for row in reached) == REACHED[family]
    assert all(p.grad is None for p in backbone.codec.autoencoder.parameters())


@every_family
def test_encoders_can_be_freed(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    before, latents = backbone.fingerprint(), longer(backbone)
    pick = torch.tensor([[1], [2]])
    frames = [backbone.decode_frames(latents), backbone.decode_frames(latents, pick)]
    backbone.free_encoders()
    assert backbone.fingerprint() == before
    torch.testing.assert_close(backbone.decode_frames(latents), frames[0])
    torch.testing.assert_close(backbone.decode_frames(latents, pick), frames[1])
    with pytest.raises(AssertionError, match="freed"):
        backbone.encode_prompt(["a star"])
    with pytest.raises(AssertionError, match="freed"):
        backbone.encode_video(torch.zeros(1, 3, 1, 32, 32))
