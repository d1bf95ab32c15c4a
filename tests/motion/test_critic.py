from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mcm.motion.critic import ClipCritic
from mcm.motion.representations import MotionRepresentation

TEXT = 8


def drifting(count: int, step: int, seed: int = 0) -> Tensor:
    """Clips (count, 4, 8, 8, 8) of a random picture that moves ``step`` places a frame."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.randn(count, 4, 8, 8, generator=generator)
    return torch.stack([picture.roll(step * t, dims=3) for t in range(8)], dim=2)


def trained(representation: MotionRepresentation, real: Tensor, fake: Tensor) -> float:
    """Train a critic on two sets of clips; return by how much it prefers the real ones."""
    torch.manual_seed(0)
    critic = ClipCritic(representation, 4, TEXT, 16)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3, (0.0, 0.99))
    text = torch.zeros(len(real), TEXT)
    for _ in range(60):
        optimizer.zero_grad()
        critic.critic_loss(real, fake, text, 0.1)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        return float((critic(real, text) - critic(fake, text)).mean())


@pytest.mark.parametrize("representation", ["raw", "diff"])
def test_it_learns_to_tell_motions_apart(representation: MotionRepresentation) -> None:
    assert trained(representation, drifting(16, 1), drifting(16, -1)) > 1


def test_differences_of_frames_hide_what_stands_still() -> None:
    real = drifting(16, 1)
    marked = real + torch.nn.functional.pad(torch.full((4, 1, 2, 8), 2.0), (0, 0, 0, 6))
    assert trained("diff", real, marked) == pytest.approx(0, abs=1e-4)
    assert trained("raw", real, marked) > 1


def test_its_gradient_leads_to_the_real_motion() -> None:
    torch.manual_seed(0)
    critic = ClipCritic("raw", 4, TEXT, 16)
    real, fake = drifting(8, 1), drifting(8, 0).requires_grad_()
    text = torch.randn(8, TEXT)
    critic.generator_loss(real, fake, text).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(parameter.requires_grad for parameter in critic.parameters())


def test_the_penalty_is_that_of_both_sides() -> None:
    torch.manual_seed(0)
    critic = ClipCritic("raw", 4, TEXT, 8)
    real, fake, text = drifting(3, 1), drifting(3, 0, 1), torch.randn(3, TEXT)
    said = critic.critic_loss(real, fake, text, 2.0)
    expected = 0.0
    for clips in (real, fake):
        clips = clips.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(clips, text).mean(1).sum(), clips)
        expected += float(gradient.flatten(1).square().sum(1).mean())
    assert float(said["penalty"]) == pytest.approx(expected, rel=1e-5)
    assert float(said["loss"].detach()) == pytest.approx(
        float(said["adversarial"]) + expected, rel=1e-5
    )


def test_text_decides() -> None:
    torch.manual_seed(0)
    critic, clips = ClipCritic("diff", 4, TEXT, 8), drifting(2, 1)
    words = torch.randn(2, TEXT)
    assert not torch.allclose(critic(clips, words), critic(clips, words.flip(0)))
