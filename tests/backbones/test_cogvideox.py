import shutil
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
from tests.backbones.family import PROMPTS, folder_of, inputs, noise, sample, stock_sample
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.loading import load_backbone
from mcm.errors import UserError

both = pytest.mark.parametrize("family", ["cogvideox", "cogvideox-5b"])


@both
@torch.no_grad()
def test_predicts_as_the_stock_network(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    pipeline = CogVideoXPipeline.from_pretrained(folder_of(family))
    x, t, condition = inputs(backbone)
    rotary = None
    if family == "cogvideox-5b":
        rotary = pipeline._prepare_rotary_positional_embeddings(32, 32, x.shape[2], "cpu")
    stock = pipeline.transformer(
        x.transpose(1, 2), condition.tokens_bld, t, image_rotary_emb=rotary
    ).sample.transpose(1, 2)
    ours = backbone.predict(x, t, condition, "v")
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-4)


@both
def test_guided_ddim_is_the_stock_pipeline(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    pipeline = CogVideoXPipeline.from_pretrained(folder_of(family))
    start = noise(backbone).transpose(1, 2)
    stock = stock_sample(pipeline, backbone, 4, latents=start).transpose(1, 2)
    ours = sample(backbone, "ddim", 4)
    torch.testing.assert_close(ours, stock, atol=1e-4, rtol=1e-4)
    assert ours.std() > 0.1
    frames = stock_sample(pipeline, backbone, 4, latents=start, output_type="pt")
    decoded = (backbone.decode_frames(ours) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, frames, atol=1e-4, rtol=1e-4)


@both
def test_the_schedule_is_the_stock_one(family: str) -> None:
    backbone = load_tiny(folder_of(family))
    stock = CogVideoXDDIMScheduler.from_pretrained(folder_of(family), subfolder="scheduler")
    t = torch.arange(1000)
    alpha, sigma = backbone.schedule.alpha_sigma(t)
    expected = stock.alphas_cumprod.float()
    torch.testing.assert_close(alpha**2, expected, atol=1e-6, rtol=1e-3)
    assert alpha[-1] == 0
    assert sigma[-1] == 1


@torch.no_grad()
def test_text_states_are_those_of_the_stock_pipeline() -> None:
    backbone = load_tiny(folder_of("cogvideox"))
    pipeline = CogVideoXPipeline.from_pretrained(folder_of("cogvideox"))
    expected, empty = pipeline.encode_prompt(PROMPTS)
    ours = backbone.encode_prompt(PROMPTS)
    torch.testing.assert_close(ours.tokens_bld, expected)
    torch.testing.assert_close(backbone.encode_prompt(["", ""]).tokens_bld, empty)
    words = len(pipeline.tokenizer(PROMPTS[1]).input_ids)
    torch.testing.assert_close(ours.pooled_bd[1], expected[1, :words].mean(0))
    assert ours.mask_bl is None


def test_latents_are_scaled() -> None:
    backbone = load_tiny(folder_of("cogvideox"))
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    raw = backbone.codec.autoencoder.encode(video).latent_dist.mode()
    torch.testing.assert_close(backbone.encode_video(video), raw * 0.7)


@pytest.mark.parametrize("latents", [1, 2, 3, 6, 7])
@torch.no_grad()
def test_chunks_are_those_of_the_stock_decoder(latents: int) -> None:
    codec = load_tiny(folder_of("cogvideox")).codec
    z = torch.randn(1, 4, latents, 8, 8)
    sizes: list[int] = []
    codec.autoencoder.decoder.register_forward_hook(
        lambda module, inputs, output: sizes.append(inputs[0].shape[2])
    )
    codec.decode(z)
    stock = sizes.copy()
    sizes.clear()
    codec.decode(z, torch.tensor([[4 * (latents - 1)]]))
    assert sizes == stock


def test_what_it_is_made_for(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("cogvideox"), tmp_path / "copy"))
    (folder / "mcm.json").unlink()
    spec = load_backbone(folder, "cpu", "float32").spec
    assert (spec.family, spec.prediction, spec.guidance, spec.fps) == ("cogvideox", "v", 6.0, 8)
    assert (spec.frames, spec.height, spec.width) == (9, 32, 32)
    assert (spec.temporal_factor, spec.temporal_patch, spec.spatial_patch) == (4, 2, 2)


def test_version_1_5_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("cogvideox-5b"), tmp_path / "copy"))
    config = CogVideoXTransformer3DModel.load_config(folder / "transformer")
    shutil.rmtree(folder / "transformer")
    newer = CogVideoXTransformer3DModel.from_config({**config, "patch_size_t": 2})
    newer.save_pretrained(folder / "transformer")
    with pytest.raises(UserError, match=r"transformer: patch_size_t is 2, which is CogVideoX 1.5"):
        load_backbone(folder, "cpu", "float32")
