"""Image-to-video beside the stock pipelines."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMapEulerDiscreteScheduler,
    LTXImageToVideoPipeline,
    LTXPipeline,
    WanImageToVideoPipeline,
)
from tests.backbones.family import GUIDANCE, PROMPTS, folder_of, noise, sample
from tests.backbones.tiny_families import load_tiny

from mcm.backbones.loading import load_backbone
from mcm.errors import UserError
from mcm.sampling.loading import load

PICTURE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1


@torch.no_grad()
def test_ltx_starts_from_a_picture_as_the_stock_pipeline() -> None:
    backbone: Any = load_tiny(folder_of("ltx"))
    with backbone.starting_from(PICTURE):
        first = backbone.first_bc1hw
        ours = sample(backbone, "euler", 4)
    assert backbone.first_bc1hw is None
    torch.testing.assert_close(ours[:, :, :1], first)
    start = torch.cat([first, noise(backbone)[:, :, 1:]], dim=2)
    pipeline = LTXImageToVideoPipeline(**LTXPipeline.from_pretrained(folder_of("ltx")).components)
    pipeline.set_progress_bar_config(disable=True)
    packed = pipeline(
        (PICTURE[None] + 1) / 2,
        PROMPTS[0],
        height=32,
        width=32,
        num_frames=9,
        frame_rate=8,
        num_inference_steps=4,
        guidance_scale=GUIDANCE,
        latents=LTXPipeline._pack_latents(start),
        output_type="latent",
    ).frames
    expected = LTXPipeline._unpack_latents(packed, 3, 8, 8)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert (ours - sample(backbone, "euler", 4)).abs().max() > 0.05


@torch.no_grad()
def test_wan_starts_from_a_picture_as_the_stock_pipeline(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder_of("wan"), tmp_path / "copy"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"expand_timesteps": True}))
    backbone: Any = load_backbone(folder, "cpu", "float32")
    with backbone.starting_from(PICTURE):
        ours = sample(backbone, "euler", 4)
    parts = backbone.to_pipeline().components
    wanted = ("tokenizer", "text_encoder", "vae", "transformer")
    pipeline = WanImageToVideoPipeline(
        **{name: parts[name] for name in wanted},
        scheduler=FlowMapEulerDiscreteScheduler(shift=3.0),
        expand_timesteps=True,
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        (PICTURE[None] + 1) / 2,
        PROMPTS[0],
        negative_prompt="",
        height=32,
        width=32,
        num_frames=5,
        num_inference_steps=4,
        guidance_scale=GUIDANCE,
        latents=noise(backbone),
        output_type="latent",
    ).frames
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_models_of_text_alone_say_so() -> None:
    backbone: Any = load_tiny(folder_of("wan"))
    with (
        pytest.raises(UserError, match="makes video from text alone"),
        backbone.starting_from(PICTURE),
    ):
        pass


@torch.no_grad()
def test_pictures_of_another_size_are_refused() -> None:
    backbone: Any = load_tiny(folder_of("ltx"))
    with (
        pytest.raises(UserError, match="image: is 64x32, but the clip is 32x32; give one of its"),
        backbone.starting_from(torch.zeros(3, 32, 64)),
    ):
        sample(backbone, "euler", 1)
    with (
        pytest.raises(UserError, match=r"image: got shape \(3, 33, 32\), expected .* multiples of"),
        backbone.starting_from(torch.zeros(3, 33, 32)),
    ):
        pass


def test_a_clip_starts_from_a_picture_and_is_not_made_in_windows() -> None:
    model = load(folder_of("ltx"), "cpu", "float32")
    image = ((PICTURE.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    free, started = (model.generate(PROMPTS[0], steps=1, image=one) for one in (None, image))
    assert np.abs(free.frames.astype(int) - started.frames).max() > 5
    assert model.backbone.followed is None  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="image: clips of more than 9 frames, and loops"):
        model.generate(PROMPTS[0], steps=1, image=image, frames=17)
