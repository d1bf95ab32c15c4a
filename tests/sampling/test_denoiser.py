"""Guidance in one call, and noise that belongs to its seed."""

import torch
from tests.sampling.fake import SHAPE, FakeBackbone

from mcm.sampling.denoiser import Denoiser, Noise

T = torch.tensor(500)


def test_guidance_is_the_formula_in_one_batch() -> None:
    backbone = FakeBackbone()
    x = Noise.from_seeds([1, 2]).draw(SHAPE)
    prompts, empty = backbone.encode_prompt(["a fox", "a star"]), backbone.encode_prompt([""])
    cond, uncond = Denoiser(backbone, prompts), Denoiser(backbone, empty.expand(2))
    expected = uncond(x, T, "x0") + 4.0 * (cond(x, T, "x0") - uncond(x, T, "x0"))
    backbone.batches.clear()
    guided = Denoiser(backbone, prompts, empty, guidance=4.0)(x, T, "x0")
    assert torch.allclose(guided, expected, atol=1e-4)
    assert backbone.batches == [4]


def test_no_guidance_costs_no_second_half() -> None:
    backbone = FakeBackbone()
    x = Noise.from_seeds([1]).draw(SHAPE)
    prompt, empty = backbone.encode_prompt(["a fox"]), backbone.encode_prompt([""])
    plain = Denoiser(backbone, prompt)(x, T, "v")
    assert torch.equal(Denoiser(backbone, prompt, empty, guidance=1.0)(x, T, "v"), plain)
    assert backbone.batches == [1, 1]


def test_noise_depends_on_its_seed_only() -> None:
    alone, together = Noise.from_seeds([5]), Noise.from_seeds([3, 5])
    for _ in range(2):
        assert torch.equal(alone.draw(SHAPE)[0], together.draw(SHAPE)[1])
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(
        Noise.from_seeds([5]).draw(SHAPE)[0], torch.randn(SHAPE, generator=generator)
    )


def test_draws_differ_from_each_other_and_between_seeds() -> None:
    noise = Noise.from_seeds([5, 6])
    first, second = noise.draw(SHAPE), noise.draw(SHAPE)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
