"""ControlNet guidance beside the stock pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimateDiffControlNetPipeline, ControlNetModel, LCMScheduler
from PIL import Image
from tests.backbones.tiny import WIDTH
from tests.export.students import PROMPT, make_teacher

from mcm.backbones.control import Control
from mcm.backbones.loading import load_backbone
from mcm.errors import UserError
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import Plan, consistency


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher with AutoencoderKL, and beside it a ControlNet that matters."""
    folder = tmp_path_factory.mktemp("control")
    torch.manual_seed(0)
    network = ControlNetModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        conditioning_embedding_out_channels=(8, 16, 16),
    )
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder / "controlnet")
    return make_teacher("image", folder / "teacher")


def pictures(count: int = 4, width: int = 32, height: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)).round()


@torch.no_grad()
def sampled(teacher: Path, size: tuple[int, int], control: Control | None) -> torch.Tensor:
    backbone: Any = load_backbone(teacher, "cpu", "float32")
    plan = Plan(backbone.spec.latent_shape(4, *size), 4)
    denoiser = Denoiser(backbone, backbone.encode_prompt([PROMPT]))
    if control is None:
        return consistency(denoiser, Noise.from_seeds([3]), plan)
    with backbone.controlled(control):
        return consistency(denoiser, Noise.from_seeds([3]), plan)


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_four_steps_are_those_of_the_stock_pipeline(teacher: Path, size: tuple[int, int]) -> None:
    """Also with another aspect ratio than the model's own."""
    height, width = size
    frames = pictures(4, width, height)
    folder = teacher.parent / "controlnet"
    control = Control.load(folder, frames, 0.7, torch.float32)
    ours = sampled(teacher, size, control)
    assert (ours - sampled(teacher, size, None)).abs().max() > 0.05
    whole = load_backbone(teacher, "cpu", "float32").to_pipeline()
    parts = {key: value for key, value in whole.components.items() if key != "motion_adapter"}
    stock = AnimateDiffControlNetPipeline(
        **parts, motion_adapter=None, controlnet=ControlNetModel.from_pretrained(folder)
    )
    stock.scheduler = LCMScheduler.from_config(
        whole.scheduler.config, original_inference_steps=50, timestep_scaling=4.0, clip_sample=False
    )
    stock.set_progress_bar_config(disable=True)
    images = [
        Image.fromarray((f.permute(1, 2, 0) * 255).byte().numpy(), mode="RGB") for f in frames
    ]
    theirs = stock(
        PROMPT,
        num_frames=4,
        height=height,
        width=width,
        num_inference_steps=4,
        guidance_scale=1.0,
        conditioning_frames=images,
        controlnet_conditioning_scale=0.7,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).frames
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_pictures_that_do_not_fit_are_refused(teacher: Path) -> None:
    folder = teacher.parent / "controlnet"
    control = Control.load(folder, pictures(3), 1.0, torch.float32)
    with pytest.raises(UserError, match="control: 3 pictures of 32x32, but the clip has 4 frames"):
        sampled(teacher, (32, 32), control)
    with pytest.raises(UserError, match="control_scale: got -1"):
        Control.load(folder, pictures(), -1.0, torch.float32)
    with pytest.raises(UserError, match="component vae \\(ControlNetModel\\)"):
        Control.load(teacher / "vae", pictures(), 1.0, torch.float32)
