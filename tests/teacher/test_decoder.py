from __future__ import annotations

import torch

from mcm.teacher.autoencoder import make_autoencoder
from mcm.teacher.decoder import SharpDecoder
from mcm.teacher.loop import Average


def test_decoder_and_critic_learn_and_the_encoder_does_not() -> None:
    model = make_autoencoder()
    model.encoder.requires_grad_(False)
    sharp = SharpDecoder(model)
    losses = sharp.losses(torch.rand(4, 3, 64, 64) * 2 - 1, seed=0)
    assert set(losses) == {"pixel", "perceptual", "adversarial", "critic"}
    torch.stack(list(losses.values())).sum().backward()
    learning = {name.split(".")[0] for name in Average(sharp, 0.9).values}
    assert learning == {"model", "critic"}
    for name, parameter in sharp.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_critic_does_not_learn_from_the_decoders_loss() -> None:
    sharp = SharpDecoder(make_autoencoder())
    losses = sharp.losses(torch.rand(4, 3, 64, 64) * 2 - 1, seed=0)
    losses["adversarial"].backward()
    assert sharp.critic is not None
    assert all(parameter.grad is None for parameter in sharp.critic.parameters())
    assert any(parameter.grad is not None for parameter in sharp.model.decoder.parameters())


def test_perceptual_distance_of_a_frame_from_itself_is_zero_and_of_a_blur_is_not() -> None:
    sharp = SharpDecoder(make_autoencoder())
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    assert sharp.perceptual(x, x) < 1e-10
    assert sharp.perceptual(blurred, x) > 0.01


def test_without_weight_there_is_no_critic() -> None:
    sharp = SharpDecoder(make_autoencoder(), adversarial=0)
    assert set(sharp.losses(torch.rand(4, 3, 64, 64) * 2 - 1, seed=0)) == {"pixel", "perceptual"}
    assert not any(name.startswith("critic") for name, _ in sharp.named_parameters())
