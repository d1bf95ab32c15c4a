from pathlib import Path

import pytest
import torch
from tests.backbones.tiny import FRAMES, SIZE, load_tiny, make_tiny_animatediff
from torch import Tensor

from mcm.backbones.loading import load_backbone


@pytest.mark.parametrize("kind", ["dc", "kl", "tiny"])
def test_every_autoencoder_codes_frames(tmp_path: Path, kind: str) -> None:
    backbone = load_backbone(make_tiny_animatediff(tmp_path, kind), "cpu", "float32")
    vae, scale = backbone.codec.autoencoder, backbone.codec.autoencoder.config.scaling_factor
    assert (backbone.spec.spatial_factor, backbone.spec.latent_channels) == (4, 4)
    video = torch.rand(2, 3, FRAMES, SIZE, SIZE) * 2 - 1
    latents = backbone.encode_video(video)
    assert latents.shape == (2, *backbone.spec.latent_shape())
    with torch.no_grad():
        coded = vae.encode(video[1, :, 2][None])
        raw = {"dc": "latent", "tiny": "latents"}
        one = coded.latent_dist.mean if kind == "kl" else getattr(coded, raw[kind])
        torch.testing.assert_close(latents[1, :, 2], one[0] * scale, atol=1e-5, rtol=1e-4)
        pixels = vae.decode(latents[1, :, 2][None] / scale).sample[0]
    decoded = backbone.decode_frames(latents)
    assert decoded.shape == (2, FRAMES, 3, SIZE, SIZE)
    torch.testing.assert_close(decoded[1, 2], pixels, atol=1e-5, rtol=1e-4)


def test_decodes_only_the_frames_asked_for(tiny_teacher: Path, latents: Tensor) -> None:
    backbone = load_tiny(tiny_teacher)
    counts: list[int] = []
    backbone.codec.autoencoder.decoder.register_forward_hook(
        lambda module, inputs, output: counts.append(len(output))
    )
    indices = torch.tensor([[0, 3], [2, 1]])
    some = backbone.decode_frames(latents, indices)
    assert counts == [4]
    whole = backbone.decode_frames(latents)
    expected = torch.stack([whole[row, indices[row]] for row in range(2)])
    torch.testing.assert_close(some, expected, atol=1e-5, rtol=1e-5)


def test_decoding_hands_gradient_to_those_frames(tiny_teacher: Path, latents: Tensor) -> None:
    backbone = load_tiny(tiny_teacher)
    latents.requires_grad_()
    backbone.decode_frames(latents, torch.tensor([[1], [3]])).square().sum().backward()
    assert latents.grad is not None
    reached = latents.grad.abs().sum(dim=(1, 3, 4)) > 0
    assert reached.tolist() == [[False, True, False, False], [False, False, False, True]]
    assert all(p.grad is None for p in backbone.codec.autoencoder.parameters())


def test_recomputing_changes_no_gradient(tiny_teacher: Path, latents: Tensor) -> None:
    backbone, gradients = load_tiny(tiny_teacher), []
    for recomputed in (False, True):
        if recomputed:
            backbone.codec.enable_gradient_checkpointing()
        x = latents.clone().requires_grad_()
        backbone.decode_frames(x, torch.tensor([[1, 2], [3, 0]])).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_long_clips_are_coded_in_parts(tiny_teacher: Path) -> None:
    backbone = load_tiny(tiny_teacher)
    latents = torch.randn(1, 4, 19, 2, 2)
    alone = backbone.decode_frames(latents, torch.tensor([[18]]))
    whole = backbone.decode_frames(latents)
    torch.testing.assert_close(whole[:, 18:], alone, atol=1e-5, rtol=1e-5)
