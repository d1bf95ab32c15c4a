from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNetMotionModel

from mcm.errors import UserError
from mcm.teacher.adaptation import _encoded, image_unet, with_image_layers
from mcm.teacher.denoiser import make_image_unet, make_motion_adapter


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


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("file,caption\n")
    with pytest.raises(UserError):
        _encoded(tmp_path, tmp_path, tmp_path / "images.safetensors")
