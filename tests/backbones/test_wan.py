import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, FlowMapEulerDiscreteScheduler, WanPipeline
from tests.backbones.family import PROMPTS, folder_of, inputs, sample, stock_sample
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.loading import load_backbone
from mcm.backbones.wan import WanAutoencoder
from mcm.diffusion import FlowSchedule
from mcm.distillation.steps import teacher_step
from mcm.errors import UserError
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import Plan, find_sampler


def stock(family: str, shift: float = 3.0) -> Any:
    pipeline = WanPipeline.from_pretrained(folder_of(family))
    pipeline.scheduler = FlowMapEulerDiscreteScheduler(shift=shift)
    return pipeline


@torch.no_grad()
def test_predicts_as_the_stock_network() -> None:
    backbone, pipeline = load_tiny(folder_of("wan")), stock("wan")
    x, t, condition = inputs(backbone)
    expected = pipeline.transformer(x, t, condition.tokens_bld).sample
    ours = backbone.predict(x, t, condition, "velocity")
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_each_expert_has_its_timesteps() -> None:
    backbone, pipeline = load_tiny(folder_of("wan-2.2")), stock("wan-2.2")
    x, _, condition = inputs(backbone)
    for t in (torch.tensor([875.0, 874.9]), torch.tensor([10.0, 999.0]), torch.tensor([900.0] * 2)):
        ours = backbone.predict(x, t, condition, "velocity")
        for row in range(2):
            expert = pipeline.transformer if t[row] >= 875 else pipeline.transformer_2
            one = slice(row, row + 1)
            expected = expert(x[one], t[one], condition.tokens_bld[one]).sample
            torch.testing.assert_close(ours[one], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_text_states_are_those_of_the_stock_pipeline() -> None:
    backbone, pipeline = load_tiny(folder_of("wan")), stock("wan")
    prompts = [PROMPTS[0], " a  star &amp; going\nup "]
    expected, empty = pipeline.encode_prompt(prompts, max_sequence_length=512)
    ours = backbone.encode_prompt(prompts)
    torch.testing.assert_close(ours.tokens_bld, expected)
    torch.testing.assert_close(backbone.encode_prompt(["", ""]).tokens_bld, empty)
    words = int((expected[0] != 0).any(-1).sum())
    torch.testing.assert_close(ours.pooled_bd[0], expected[0, :words].mean(0))


@pytest.mark.parametrize("family", ["wan", "wan-2.2"])
def test_guided_euler_is_the_stock_pipeline(family: str) -> None:
    backbone, pipeline = load_tiny(folder_of(family)), stock(family)
    ours = sample(backbone, "euler", 4)
    torch.testing.assert_close(ours, stock_sample(pipeline, backbone, 4), atol=1e-4, rtol=1e-4)
    assert ours.std() > 0.1
    frames = stock_sample(pipeline, backbone, 4, output_type="pt")
    decoded = (backbone.decode_frames(ours) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, frames, atol=1e-4, rtol=1e-4)


def test_one_timestep_serves_all_tokens(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("wan"), tmp_path / "copy"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"expand_timesteps": True}))
    backbone, pipeline = (
        load_backbone(folder, "cpu", "float32"),
        WanPipeline.from_pretrained(folder),
    )
    assert pipeline.config.expand_timesteps
    assert backbone.to_pipeline().config.expand_timesteps
    pipeline.scheduler = FlowMapEulerDiscreteScheduler(shift=3.0)
    expected = stock_sample(pipeline, backbone, 2)
    torch.testing.assert_close(sample(backbone, "euler", 2), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_patched_residual_autoencoder_decodes_chosen_frames() -> None:
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
    )
    codec = WanAutoencoder(vae)
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    latents = codec.encode(video)
    assert latents.shape == (1, 4, 3, 4, 4)
    whole = codec.decode(latents)
    assert whole.shape == (1, 9, 3, 32, 32)
    some = codec.decode(latents, torch.tensor([[5, 8, 0]]))
    torch.testing.assert_close(some, whole[:, [5, 8, 0]], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_latents_are_normalised() -> None:
    backbone = load_tiny(folder_of("wan"))
    vae = backbone.codec.autoencoder
    video = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    raw = vae.encode(video).latent_dist.mode()
    mean, std = (torch.tensor(vae.config[f"latents_{name}"]) for name in ("mean", "std"))
    expected = (raw - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(backbone.encode_video(video), expected)


def test_what_it_is_made_for(tmp_path: Path) -> None:
    specs = {}
    for family in ("wan", "wan-2.2"):
        folder = Path(shutil.copytree(folder_of(family), tmp_path / family))
        (folder / "mcm.json").unlink()
        backbone = load_backbone(folder, "cpu", "float32")
        specs[family] = backbone.spec
        assert backbone.schedule == FlowSchedule(3.0)
    one, experts = specs.values()
    assert (one.frames, one.height, one.width, one.fps, one.guidance) == (81, 480, 832, 16, 5.0)
    assert (experts.height, experts.width, experts.guidance) == (720, 1280, 4.0)
    assert (one.low_noise, experts.low_noise) == (None, (875.0, 3.0))
    assert (one.max_tokens, one.temporal_factor, one.spatial_patch) == (512, 4, 2)


def test_a_missing_second_expert_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("wan"), tmp_path / "copy"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"boundary_ratio": 0.875}))
    with pytest.raises(UserError, match=r"component transformer_2: got \[None, None\], expected"):
        load_backbone(folder, "cpu", "float32")


def with_two_scales(folder: Path) -> Path:
    """Copy a Wan 2.2 that says of itself what the original says: 4 for the noisier timesteps, 3."""
    shutil.copytree(folder_of("wan-2.2"), folder)
    native = json.loads((folder / "mcm.json").read_text())
    (folder / "mcm.json").write_text(json.dumps(native | {"guidance": 4.0}))
    return folder


def test_each_expert_has_its_guidance(tmp_path: Path) -> None:
    backbone = load_backbone(with_two_scales(tmp_path / "copy"), "cpu", "float32")
    condition, empty = backbone.encode_prompt(PROMPTS[:1]), backbone.encode_prompt([""])
    plan = Plan(backbone.spec.latent_shape(), 6)
    with torch.no_grad():
        ours = find_sampler("euler")(
            Denoiser(backbone, condition, empty, 4.0), Noise.from_seeds([7]), plan
        )
    scales = {"guidance_scale": 4.0, "guidance_scale_2": 3.0}
    expected, alike = (
        stock_sample(stock("wan-2.2"), backbone, 6, **some)
        for some in (scales, {"guidance_scale": 4.0})
    )
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert (expected - alike).abs().max() > 1e-3


@torch.no_grad()
def test_the_teachers_step_has_each_experts_guidance(tmp_path: Path) -> None:
    """Scales 3.7 and 2.8: the second is less by a third above 1, as 3 is beside 4."""
    backbone = load_backbone(with_two_scales(tmp_path / "copy"), "cpu", "float32")
    x, _, condition = inputs(backbone)
    empty = backbone.encode_prompt([""])
    t, previous = torch.tensor([900.0, 500.0]), torch.tensor([880.0, 480.0])
    ours = teacher_step(backbone, x, t, previous, (condition, empty), torch.tensor([2.7, 2.7]))
    for row, scale in enumerate((3.7, 2.8)):
        one = slice(row, row + 1)
        cond, uncond = (
            backbone.predict(x[one], t[one], states, "velocity")
            for states in (condition[one], empty)
        )
        velocity = uncond + scale * (cond - uncond)
        expected = x[one] + (previous[row] - t[row]) / 1000 * velocity
        torch.testing.assert_close(ours[one], expected, atol=1e-4, rtol=1e-4)


def test_guidance_of_a_second_expert_needs_one(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("wan"), tmp_path / "copy"))
    (folder / "mcm.json").write_text(json.dumps({"low_noise_guidance": 3.0}))
    with pytest.raises(UserError, match="low_noise_guidance: this model has one network"):
        load_backbone(folder, "cpu", "float32")
