import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXPipeline
from tests.backbones.family import PROMPTS, folder_of, inputs, noise, sample, stock_sample
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.loading import load_backbone
from mcm.backbones.ltx import LTXAutoencoder
from mcm.diffusion import FlowSchedule


def stock() -> LTXPipeline:
    return LTXPipeline.from_pretrained(folder_of("ltx"))


@torch.no_grad()
def test_predicts_as_the_stock_network() -> None:
    backbone, pipeline = load_tiny(folder_of("ltx")), stock()
    x, t, condition = inputs(backbone)
    packed = pipeline.transformer(
        LTXPipeline._pack_latents(x),
        condition.tokens_bld,
        t,
        condition.mask_bl,
        num_frames=3,
        height=8,
        width=8,
        rope_interpolation_scale=(4 / 8, 4, 4),
    ).sample
    expected = LTXPipeline._unpack_latents(packed, 3, 8, 8)
    ours = backbone.predict(x, t, condition, "velocity")
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_text_states_are_those_of_the_stock_pipeline() -> None:
    backbone, pipeline = load_tiny(folder_of("ltx")), stock()
    expected, mask, empty, _ = pipeline.encode_prompt(PROMPTS, max_sequence_length=128)
    ours = backbone.encode_prompt(PROMPTS)
    torch.testing.assert_close(ours.tokens_bld, expected)
    assert torch.equal(ours.mask_bl, mask.bool())
    torch.testing.assert_close(backbone.encode_prompt(["", ""]).tokens_bld, empty)


@torch.no_grad()
def test_padding_is_not_seen() -> None:
    backbone = load_tiny(folder_of("ltx"))
    x, t, condition = inputs(backbone)
    changed = torch.where(condition.mask_bl[..., None], condition.tokens_bld, 5.0)
    other = type(condition)(changed, condition.pooled_bd, condition.mask_bl)
    torch.testing.assert_close(
        backbone.predict(x, t, other), backbone.predict(x, t, condition), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("steps", [2, 4])
def test_guided_euler_is_the_stock_pipeline(steps: int) -> None:
    backbone, pipeline = load_tiny(folder_of("ltx")), stock()
    options = {"latents": LTXPipeline._pack_latents(noise(backbone)), "frame_rate": 8}
    packed = stock_sample(pipeline, backbone, steps, **options)
    ours = sample(backbone, "euler", steps)
    expected = LTXPipeline._unpack_latents(packed, 3, 8, 8)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert ours.std() > 0.1
    frames = stock_sample(pipeline, backbone, steps, output_type="pt", **options)
    decoded = (backbone.decode_frames(ours) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, frames, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_decoder_conditioned_on_noise_gets_none() -> None:
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        timestep_conditioning=True,
        patch_size=1,
    )
    latents = torch.randn(2, 8, 2, 4, 4)
    expected = vae.decode(latents, torch.zeros(2)).sample
    ours = LTXAutoencoder(vae).decode(latents)
    torch.testing.assert_close(ours, expected.transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_what_it_is_made_for(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("ltx"), tmp_path / "copy"))
    (folder / "mcm.json").unlink()
    backbone = load_backbone(folder, "cpu", "float32")
    spec, schedule = backbone.spec, backbone.schedule
    assert (spec.family, spec.prediction, spec.guidance, spec.fps) == ("ltx", "velocity", 3.0, 25)
    assert (spec.frames, spec.height, spec.width, spec.max_tokens) == (161, 512, 704, 128)
    assert isinstance(schedule, FlowSchedule)
    assert schedule.terminal == 0.1
    assert schedule.shift > 7
