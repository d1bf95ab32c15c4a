from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNetMotionModel
from tests.backbones.tiny import make_tiny_animatediff

from mcm.backbones.adapters import load_adapter
from mcm.backbones.loading import load_backbone
from mcm.data.samples import Sample
from mcm.errors import UserError
from mcm.sampling.catalog import find_model
from mcm.teacher.adaptation import (
    _add_lora,
    _check_same,
    _write_lora,
    adapt_to_images,
    image_unet,
    with_image_layers,
)
from mcm.teacher.denoiser import make_image_unet, make_motion_adapter
from mcm.teacher.loop import LoopConfig

TEACHER = find_model("fluent").teacher


def video_unet() -> UNetMotionModel:
    torch.manual_seed(0)
    return UNetMotionModel.from_unet2d(make_image_unet(16, 8), make_motion_adapter())


def test_image_layers_alone_predict_as_the_video_network_whose_motion_is_the_identity() -> None:
    video = video_unet().eval()
    image = image_unet(video).eval()
    x, t, text = torch.randn(1, 16, 3, 8, 8), torch.tensor([500]), torch.randn(1, 7, 128)
    text = torch.randn(1, 7, video.config["cross_attention_dim"])
    with torch.no_grad():
        clip = video(x, t, text.repeat_interleave(3, 0)).sample
        frames = image(x[0].transpose(0, 1), t, text.expand(3, -1, -1)).sample
    torch.testing.assert_close(clip[0].transpose(0, 1), frames, atol=1e-4, rtol=1e-4)


def test_image_layers_go_back_and_leave_motion_alone() -> None:
    video, other = video_unet(), make_image_unet(16, 8)
    before = {name: value.clone() for name, value in video.state_dict().items()}
    with_image_layers(video, other)
    after = video.state_dict()
    for name, value in other.state_dict().items():
        assert torch.equal(after[name], value), name
    motion = [name for name in before if "motion_modules." in name]
    assert motion
    assert all(torch.equal(after[name], before[name]) for name in motion)


def test_lora_is_written_for_the_image_layers_alone(tmp_path: Path) -> None:
    """What it makes of a frame is what the trained image network makes of it."""
    teacher = make_tiny_animatediff(tmp_path / "teacher")
    video = UNetMotionModel.from_pretrained(teacher / "unet")
    image = image_unet(video).eval()
    layers = _add_lora(image, 2)
    torch.manual_seed(1)
    with torch.no_grad():
        for value in layers.parameters("looks").values():
            value.copy_((torch.randn_like(value) * 0.1).half())
    _write_lora(layers, teacher, tmp_path / "looks")
    backbone = load_backbone(teacher, "cpu", "float32")
    load_adapter(backbone, tmp_path / "looks", "looks")
    names = backbone.adapter_parameters("looks")
    assert names
    assert not any("motion_modules" in name for name in names)
    for name, value in layers.parameters("looks").items():
        torch.testing.assert_close(names[name], value, atol=0, rtol=0)
    trained = [name for name, value in image.named_parameters() if value.requires_grad]
    assert all(".lora_" in name for name in trained)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("file,caption\n")
    with pytest.raises(UserError, match="no samples"):
        adapt_to_images(TEACHER, tmp_path, tmp_path / "out", LoopConfig(steps=1))


def test_a_teacher_of_another_kind_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    epsilon = make_tiny_animatediff(tmp_path / "epsilon", prediction="epsilon")
    for teacher, message in (
        (
            epsilon,
            r"scheduler_config.json: prediction_type: got 'epsilon', expected 'v_prediction'",
        ),
        (find_model("fluent-dit").teacher, r"unet/config.json: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            adapt_to_images(teacher, tmp_path / "none", tmp_path / "out", LoopConfig(steps=1))
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_with_what_it_began_with_alone(tmp_path: Path) -> None:
    card, teacher = tmp_path / "run" / "made.json", tmp_path / "teacher"
    card.parent.mkdir()
    teacher.mkdir()
    (teacher / "a.json").write_text("{}")
    sample = Sample("a", "a cat", b"pixels", "a.png")
    _check_same(card, teacher, [sample])
    _check_same(card, teacher, [sample])
    for other in (replace(sample, caption="a dog"), replace(sample, media=b"others")):
        with pytest.raises(UserError, match="began with other images"):
            _check_same(card, teacher, [other])
    (teacher / "a.json").write_text("[]")
    with pytest.raises(UserError, match="began with another teacher"):
        _check_same(card, teacher, [sample])
