from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from PIL import Image
from tests.backbones.test_variants import stir
from tests.backbones.tiny import load_tiny, make_tiny_animatediff
from tests.sampling.fake import FACTOR, FRAMES, SIDE, FakeBackbone, make_model
from torch import Tensor

from mcm.backbones.adapters import save_adapter
from mcm.backbones.base import Condition
from mcm.cli import main
from mcm.diffusion import VarianceSchedule, few_step_timesteps
from mcm.errors import UserError
from mcm.media import read_metadata, save_video
from mcm.sampling.edit import composite
from mcm.sampling.edit_files import EditRequest, edit_file, read_mask, read_source
from mcm.sampling.options import ModelWarning
from mcm.sampling.pipeline import VideoModel

FOX = "a fox"
PIXELS = SIDE * FACTOR


class Coded(FakeBackbone):
    """Latents are the pixels' means, and the frames of latents are flat squares."""

    def encode_video(self, video_bcthw: Tensor) -> Tensor:
        means = torch.nn.functional.avg_pool3d(video_bcthw, (1, FACTOR, FACTOR))
        return torch.cat([torch.atanh(means.clamp(-0.99, 0.99)), means[:, :1]], dim=1)


class Knowing(Coded):
    """Its x̂0 is what it was told."""

    def __init__(self, x0: Tensor) -> None:
        super().__init__(prediction="x0")
        self.x0 = x0

    def raw(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        return self.x0.expand_as(x_bcthw)


def squares(seed: int = 0) -> np.ndarray:
    """A clip of flat squares on the latent grid."""
    levels = np.random.default_rng(seed).integers(40, 215, (FRAMES, SIDE, SIDE, 3))
    return levels.repeat(FACTOR, 1).repeat(FACTOR, 2).astype(np.uint8)


def student(backbone: Any = None) -> VideoModel:
    return replace(make_model("student"), backbone=backbone or Coded())


@pytest.mark.parametrize(("strength", "steps"), [(1.0, 4), (0.6, 3), (0.35, 2)])
def test_an_edit_starts_where_stock_lcm_does(strength: float, steps: int) -> None:
    scheduler = LCMScheduler(original_inference_steps=20)
    scheduler.set_timesteps(steps, strength=strength)
    ours = few_step_timesteps(steps, 20, VarianceSchedule.from_betas(), strength)
    assert ours.tolist() == scheduler.timesteps.tolist()


def test_a_model_that_knows_the_video_gives_it_back() -> None:
    frames = squares()
    backbone = Coded()
    video = torch.from_numpy(frames).float().permute(3, 0, 1, 2)[None] / 127.5 - 1
    knowing = Knowing(backbone.encode_video(video))
    made = student(knowing).edit(frames, FOX, strength=0.5, steps=4)
    assert np.abs(made.frames.astype(int) - frames).max() <= 1
    assert made.settings["strength"] == 0.5
    assert set(made.timings) == {"encode", "text", "network", "decode"}


def test_more_strength_keeps_less() -> None:
    frames = squares()
    changes = []
    for strength in (0.2, 0.6, 1.0):
        made = student().edit(frames, FOX, strength=strength, steps=2)
        changes.append(np.abs(made.frames.astype(int) - frames).mean())
        assert made.frames.shape == frames.shape
    assert changes[0] < changes[2]


def test_an_edit_is_repeated_by_its_seed() -> None:
    first, again, other = (
        student().edit(squares(), FOX, steps=2, seed=seed).frames for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_outside_the_mask_nothing_changes() -> None:
    frames, mask = squares(), np.zeros((PIXELS, PIXELS), dtype=bool)
    mask[:, PIXELS // 2 :] = True
    made = student().edit(frames, FOX, strength=1.0, steps=4, mask_hw=mask).frames
    assert np.array_equal(made[:, ~mask], frames[:, ~mask])
    assert np.abs(made[:, mask].astype(int) - frames[:, mask]).mean() > 5


def test_a_composite_fades_inside_the_mask() -> None:
    kept, made = np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 8, 8, 3), 200, np.uint8)
    mask = np.zeros((8, 8), dtype=bool)
    mask[:, 3:] = True
    row = composite(kept, made, mask)[0, 4, :, 0].tolist()
    assert row == [0, 0, 0, 100, 200, 200, 200, 200]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.0}, "strength: got 0.0"),
        ({"strength": float("nan")}, "strength: got nan"),
        ({"strength": "0.5"}, "strength: got '0.5', expected a number"),
        ({"steps": 21}, "steps: 21 sampling steps"),
        ({"seed": 2**64}, "seed: got 18446744073709551616"),
        ({"size": (64, 64)}, "size: an edit takes steps, stochasticity, guidance"),
        ({"loop": True}, "loop: an edit takes .* leave out 'loop'"),
        ({"sampler": "ddim"}, "sampler: an edit takes"),
        ({"mask_hw": np.ones((4, 4), dtype=bool)}, r"mask: has the shape \(4, 4\)"),
        ({"mask_hw": np.full((PIXELS, PIXELS), 255, np.uint8)}, "mask: got uint8 .* mask >= 128"),
        ({"mask_hw": [[True]]}, "mask: got list"),
        ({"frames_thwc": np.zeros((FRAMES, PIXELS, PIXELS, 3), np.float32)}, "video: got float32"),
        ({"frames_thwc": np.zeros((PIXELS, PIXELS, 3), np.uint8)}, r"expected .* \(t, h, w, 3\)"),
        ({"frames_thwc": np.zeros((FRAMES, PIXELS, PIXELS, 4), np.uint8)}, "video: got uint8"),
        ({"frames_thwc": torch.zeros(FRAMES, PIXELS, PIXELS, 3)}, "video: got Tensor"),
        ({"frames_thwc": np.zeros((0, PIXELS, PIXELS, 3), np.uint8)}, "frames: got 0"),
        ({"mask_hw": np.zeros((PIXELS, PIXELS), dtype=bool)}, "mask: is black"),
        ({"prompt": "  "}, "prompt: it is empty"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        student().edit(**{"frames_thwc": squares(), "prompt": FOX, **options})


@pytest.mark.parametrize(("strength", "left"), [(0.01, 1), (0.05, 1), (0.1, 2), (0.2, 4), (1.0, 4)])
def test_a_small_strength_leaves_fewer_steps(strength: float, left: int) -> None:
    """Of 20 timesteps as many as there are; the clip says how many steps were made."""
    backbone = Coded()
    made = student(backbone).edit(squares(), FOX, strength=strength, steps=4)
    assert made.settings["steps"] == left == len(backbone.batches)


def test_a_mask_that_keeps_nothing_is_told() -> None:
    with pytest.warns(ModelWarning, match="mask: is white everywhere"):
        student().edit(squares(), FOX, steps=1, mask_hw=np.ones((PIXELS, PIXELS), dtype=bool))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_in_a_mask_is_black(mode: str, tmp_path: Path) -> None:
    painted = np.full((PIXELS, PIXELS, 4), (255, 255, 255, 0), np.uint8)
    painted[:, : PIXELS // 2, 3] = 255
    Image.fromarray(painted).convert(mode).save(tmp_path / "mask.png")
    region = read_mask(tmp_path / "mask.png", student())
    assert region[:, : PIXELS // 2].all()
    assert not region[:, PIXELS // 2 :].any()


@pytest.mark.parametrize("start", [-5, float("nan"), float("inf"), "1"])
def test_a_start_is_a_second_of_the_video(start: Any, tmp_path: Path) -> None:
    save_video(squares(), tmp_path / "in.mp4", fps=8)
    with pytest.raises(UserError, match="start: got"):
        read_source(tmp_path / "in.mp4", student(), start)
    request = EditRequest(tmp_path / "in.mp4", FOX, tmp_path / "out.mp4", "no-model", start=start)
    with pytest.raises(UserError, match="start: got"):
        edit_file(request)


@pytest.mark.parametrize("start", [100.0, 1e300, 1e308])
def test_a_start_after_the_end_says_what_to_ask_for(start: float, tmp_path: Path) -> None:
    save_video(squares(), tmp_path / "in.mp4", fps=8)
    with pytest.raises(UserError, match="ask for fewer frames, an earlier start, or give a longer"):
        read_source(tmp_path / "in.mp4", student(), start)


def test_a_teacher_cannot_edit_in_few_steps() -> None:
    with pytest.raises(UserError, match="needs a student"):
        replace(make_model("teacher"), backbone=Coded()).edit(squares(), FOX)


@pytest.fixture(scope="module")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    teacher = make_tiny_animatediff(folder / "teacher")
    backbone = load_tiny(teacher)
    backbone.add_adapter("student", rank=2, alpha=2.0)
    stir(backbone, "student")
    notes = {"base": str(teacher), "original_steps": 20, "timestep_scaling": 4.0}
    return save_adapter(backbone, "student", folder / "student", notes)


@pytest.mark.parametrize("source", ["in.mp4", "in.png"])
def test_from_file_to_file(
    tiny_student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8)
    save_video(frames, tmp_path / "in.mp4", fps=8)
    Image.fromarray(frames[0]).save(tmp_path / "in.png")
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    output = tmp_path / "out.mp4"
    words = ["edit", tmp_path / source, "a star going up", "-o", output, "--steps", 2]
    words += ["--model", tiny_student, "--mask", tmp_path / "mask.png", "--device", "cpu"]
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert caught.value.code == 0, captured.err
    assert captured.out == f"{output}\n"
    assert "mask: is white" not in captured.err
    metadata = read_metadata(output)
    assert (metadata["prompt"], metadata["strength"]) == ("a star going up", 0.6)
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    assert caught.value.code == 2
    assert "exists already" in capsys.readouterr().err
    output = tmp_path / "frames"
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in [*words, "-o", output, "--format", "frames"]])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"{output}\n")
    assert read_metadata(output)["prompt"] == "a star going up"
