"""The parts of the embedded teacher, at sizes that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mcm.diffusion import VarianceSchedule
from mcm.teacher.autoencoder import (
    GRID,
    LATENT_CHANNELS,
    busy_crop,
    keep_encoder,
    make_autoencoder,
    move_together,
    rescale_latents,
)
from mcm.teacher.corpus import ClipCorpus
from mcm.teacher.denoiser import (
    SCHEDULER,
    add_noise,
    load_video_unet,
    make_image_unet,
    shifted_timesteps,
)
from mcm.teacher.text import MAX_TOKENS, make_tokenizer


def corpus(clips: int = 10) -> ClipCorpus:
    numbers = torch.arange(clips)
    latents = torch.zeros(clips, 2, 4, 1, 1).half()
    return ClipCorpus(latents, ["a"] * clips, numbers, numbers % 9, torch.zeros(clips, 4, 5))


def test_autoencoder_keeps_its_grid() -> None:
    model = make_autoencoder()
    latents = model.encode(torch.zeros(1, 3, 64, 64)).latent
    assert latents.shape == (1, LATENT_CHANNELS, 64 // GRID, 64 // GRID)
    assert model.decode(latents).sample.shape == (1, 3, 64, 64)


def test_a_new_decoder_leaves_the_latents_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, model = make_autoencoder(), make_autoencoder()
    trained, model = (rescale_latents(m, torch.ones(LATENT_CHANNELS)) for m in (trained, model))
    trained.register_to_config(scaling_factor=0.25)
    trained.save_pretrained(tmp_path)
    keep_encoder(model, tmp_path)
    assert model.config.scaling_factor == 0.25
    frame = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(model.encode(frame).latent, trained.encode(frame).latent)
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"decoder"}
    latents = torch.randn(1, LATENT_CHANNELS, 4, 4)
    assert torch.equal(model.decode(latents).sample, trained.decode(latents).sample)


def test_rescaled_latents_make_the_same_frames() -> None:
    torch.manual_seed(0)
    model, gain_c = make_autoencoder(), torch.rand(LATENT_CHANNELS) + 0.5
    scaled = rescale_latents(model, gain_c)
    frame = torch.rand(1, 3, 64, 64) * 2 - 1
    latents = model.encode(frame).latent
    expected = latents * gain_c.view(-1, 1, 1)
    torch.testing.assert_close(scaled.encode(frame).latent, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        scaled.decode(expected).sample, model.decode(latents).sample, atol=1e-5, rtol=1e-5
    )


def test_latents_move_as_their_frames_do() -> None:
    """An "autoencoder" that averages patches commutes with every move."""
    frames, sizes = torch.randn(2, 3, 64, 64), set()
    latents = torch.nn.functional.avg_pool2d(frames, GRID)
    for seed in range(20):
        z, x = move_together(latents, frames, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(z, torch.nn.functional.avg_pool2d(x, GRID))
        sizes.add(x.shape[-1])
    assert sizes == {32, 64}


def test_busy_crop_prefers_edges_and_keeps_the_grid() -> None:
    frame = np.zeros((128, 128, 3), np.uint8)
    frame[64:72, 100:108] = 255
    for seed in range(10):
        crop = busy_crop(frame, 64, np.random.default_rng(seed))
        assert crop.shape == (64, 64, 3)
        assert crop.max() == 255
        rows = np.flatnonzero(crop.max((1, 2)))
        assert rows[0] % GRID == 0


def test_every_epoch_draws_every_clip_once() -> None:
    clips = corpus()
    drawn = torch.cat([clips.draw(0, step, 4) for step in range(5)])
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()


def test_tokenizer_knows_every_text(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(["a fox moving left", "an eagle, white backdrop"], tmp_path)
    text = "Ünknown-words? 🦊 фокс"
    ids = tokenizer(text).input_ids
    assert tokenizer.eos_token_id not in ids[1:-1]
    shown = tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "")
    assert shown == text.lower().replace(" ", "")
    assert len(tokenizer("fox").input_ids) == 3
    assert tokenizer.model_max_length == MAX_TOKENS


def test_noisy_latents_and_their_velocity_give_the_clean_ones_back() -> None:
    """x0 = α x_t − σ v, at every noise level."""
    schedule = VarianceSchedule.from_scheduler_config(SCHEDULER)
    x0 = torch.randn(16, 4, 2, 2)
    noised = add_noise(schedule, x0, (0, 1))
    alpha, sigma = (value.view(-1, 1, 1, 1) for value in schedule.alpha_sigma(noised.t_b))
    found = alpha * noised.x_t - sigma * noised.velocity
    torch.testing.assert_close(found, x0, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 4.0])
def test_shift_moves_the_median_timestep(shift: float) -> None:
    """Half of all u lie below 1/2, which the map sends to s / (1 + s)."""
    t_b = shifted_timesteps(20000, 1000, shift, torch.Generator().manual_seed(0))
    assert t_b.min() >= 0 and t_b.max() <= 999
    assert t_b.median() / 1000 == pytest.approx(shift / (1 + shift), abs=0.01)


def test_a_video_network_begins_as_its_image_unet_and_goes_on_as_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = make_image_unet(4, 8).eval()
    image.save_pretrained(tmp_path / "image")
    video = load_video_unet(tmp_path / "image").eval()
    x_bcthw, t_b, tokens_bld = (
        torch.randn(1, 4, 3, 8, 8),
        torch.tensor([500]),
        torch.randn(1, 5, 192),
    )
    seen = video(x_bcthw, t_b, tokens_bld.repeat_interleave(3, 0)).sample
    frames = x_bcthw[0].transpose(0, 1)
    expected = image(frames, t_b, tokens_bld.repeat_interleave(3, 0)).sample
    torch.testing.assert_close(seen[0].transpose(0, 1), expected, atol=1e-4, rtol=1e-4)
    for parameter in video.parameters():
        parameter.data.add_(0.1)
    video.save_pretrained(tmp_path / "video")
    again = load_video_unet(tmp_path / "video").state_dict()
    assert all(torch.equal(again[name], value) for name, value in video.state_dict().items())
