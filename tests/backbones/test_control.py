"""ControlNet guidance beside the stock pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffControlNetPipeline, ControlNetModel, LCMScheduler
from PIL import Image
from tests.backbones.tiny import WIDTH
from tests.export.students import PROMPT, make_teacher

from mcm.backbones.control import Control
from mcm.backbones.loading import load_backbone
from mcm.cli import main
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
    with pytest.raises(UserError, match="got 3 pictures of 32x32, but the clip has 4 frames of 32"):
        sampled(teacher, (32, 32), control)
    small = Control.load(folder, pictures(4, 16, 16), 1.0, torch.float32)
    with pytest.raises(UserError, match="got 4 pictures of 16x16, but the clip has 4 frames of 32"):
        sampled(teacher, (32, 32), small)
    with pytest.raises(UserError, match="control_scale: got -1"):
        Control.load(folder, pictures(), -1.0, torch.float32)
    with pytest.raises(UserError, match="control: nowhere: no such ControlNet"):
        Control.load("nowhere", pictures(), 1.0, torch.float32)
    with pytest.raises(UserError, match="component vae \\(ControlNetModel\\)"):
        Control.load(teacher / "vae", pictures(), 1.0, torch.float32)


def test_a_control_net_of_another_image_model_is_refused(teacher: Path) -> None:
    wider = ControlNetModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=2,
        conditioning_embedding_out_channels=(8, 16, 16),
    )
    backbone: Any = load_backbone(teacher, "cpu", "float32")
    with (
        pytest.raises(UserError, match="its cross_attention_dim is 64, that of this model 32"),
        backbone.controlled(Control(wider, pictures())),
    ):
        pass


def test_the_network_goes_to_the_device_of_the_guided_one(teacher: Path) -> None:
    control = Control.load(teacher.parent / "controlnet", pictures(), 1.0, torch.float32)
    backbone: Any = load_backbone(teacher, "cpu", "float32")
    control.join(backbone.network.to("meta"))
    assert {parameter.device.type for parameter in control.network.parameters()} == {"meta"}


def test_the_command_line_follows_pictures(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of pictures guides; without it, or with too few of them, a message says why."""
    poses = tmp_path / "poses"
    poses.mkdir()
    for number, frame in enumerate(pictures()):
        pixels = (frame.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels, mode="RGB").save(poses / f"{number}.png")
    words = ["generate", PROMPT, "--model", str(teacher), "--steps", "1", "--device", "cpu"]
    control = ["--control", str(teacher.parent / "controlnet"), "--control-frames", str(poses)]

    def call(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main([*words, *more])
        assert isinstance(caught.value.code, int)
        return caught.value.code, capsys.readouterr().err

    free, guided = tmp_path / "free.gif", tmp_path / "guided.gif"
    assert call("-o", str(free))[0] == 0
    assert call("-o", str(guided), *control)[0] == 0
    first = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (free, guided)]
    assert np.abs(first[0] - first[1]).max() > 20
    other = ["-o", str(tmp_path / "other.gif")]
    for more, message in (
        (["--control", "x"], "control: a ControlNet and its pictures go together"),
        (["--image", "nowhere.png"], "image: nowhere.png: no such file"),
        (["--image", str(poses / "0.png")], r"makes video from text alone; image-to-video needs"),
        ([*control, "--frames", "5"], "got 4 pictures, expected 5, one for each frame"),
    ):
        code, said = call(*other, *more)
        assert code == 2
        assert message in said
    (poses / "4.png").write_bytes((poses / "0.png").read_bytes())
    code, said = call(*other, *control, "--frames", "5")
    assert code == 2
    assert "control: clips of more than 4 frames, and loops, are made in windows" in said
