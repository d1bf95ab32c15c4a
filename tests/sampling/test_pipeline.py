"""Generation: defaults, determinism, batches, bad input; on a fake and on a tiny AnimateDiff."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.backbones.tiny import FRAMES, PROMPTS, SIZE, make_tiny_animatediff
from tests.sampling.fake import CHANNELS, make_model

from mcm.backbones.adapters import load_adapter, save_adapter
from mcm.backbones.loading import load_backbone
from mcm.diffusion import FlowSchedule
from mcm.errors import UserError
from mcm.sampling.loading import load
from mcm.sampling.options import ModelWarning
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.pixels import to_uint8

FOX = "a fox moving left"


def test_student_uses_its_sampler_without_guidance() -> None:
    model = make_model("student")
    clip = model.generate(FOX, seed=7)
    assert clip.frames.shape == (3, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert (clip.settings["sampler"], clip.settings["steps"]) == ("consistency", 4)
    assert clip.settings["guidance"] == 1.0
    assert backbone_of(model).batches == [1] * 4


def test_teacher_uses_ddim_with_its_guidance_in_one_batch() -> None:
    model = make_model("teacher")
    clip = model.generate(FOX)
    assert (clip.settings["sampler"], clip.settings["guidance"]) == ("ddim", 4.0)
    assert backbone_of(model).batches == [2] * 10


def backbone_of(model: VideoModel) -> Any:
    return model.backbone


def test_same_seed_same_clip_other_seed_another() -> None:
    model = make_model()
    first, again, other = (model.generate(FOX, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_a_clip_does_not_depend_on_its_batch(kind: str) -> None:
    model = make_model(kind)
    alone = model.generate("a star", seed=8)
    together = model.generate_batch([FOX, "a star", "a cat"], [7, 8, 9])[1]
    assert np.abs(alone.frames.astype(int) - together.frames).max() <= 1
    assert (together.prompt, together.seed) == ("a star", 8)


def test_negative_prompt_guidance_and_sampler_change_the_clip() -> None:
    model = make_model("teacher")
    clips = [
        model.generate(FOX),
        model.generate(FOX, guidance=1.0),
        model.generate(FOX, negative_prompt="a cat"),
        model.generate(FOX, sampler="dpmpp_2m"),
        model.generate("a star"),
    ]
    frames = {clip.frames.tobytes() for clip in clips}
    assert len(frames) == len(clips)


def test_size_frames_and_metadata() -> None:
    clip = make_model().generate(FOX, steps=2, seed=3, frames=5, size=(16, 24))
    assert clip.frames.shape == (5, 16, 24, 3)
    metadata = clip.metadata()
    assert json.loads(json.dumps(metadata)) == metadata
    assert {**metadata, "software": ""} == {
        "software": "",
        "prompt": FOX,
        "seed": 3,
        "model": "fake-student",
        "sampler": "consistency",
        "steps": 2,
        "guidance": 1.0,
        "frames": 5,
        "height": 16,
        "width": 24,
        "negative_prompt": "",
        "stochasticity": 1.0,
        "loop": False,
    }
    assert set(clip.timings) == {"text", "network", "decode"}
    assert clip.seconds == sum(clip.timings.values()) > 0


def test_progress_shows_clean_latents() -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    make_model().generate(
        FOX, steps=3, on_step=lambda step, steps, x0: seen.append((step, steps, tuple(x0.shape)))
    )
    assert seen == [(step, 3, (1, CHANNELS, 3, 4, 4)) for step in (1, 2, 3)]


def test_flow_models_generate() -> None:
    clip = make_model("student", FlowSchedule(shift=3.0)).generate(FOX)
    assert clip.frames.std() > 0
    clip = make_model("teacher", FlowSchedule(shift=3.0)).generate(FOX, sampler="euler")
    assert clip.settings["sampler"] == "euler"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "  "}, "prompt: it is empty"),
        ({"steps": 0}, "steps: got 0, expected 1 to 50"),
        ({"steps": 51}, "steps: got 51, expected 1 to 50"),
        ({"guidance": 0.5}, "guidance: got 0.5"),
        ({"guidance": math.inf}, "guidance: got inf"),
        ({"sampler": "dim"}, "'ddim'"),
        ({"frames": 0}, "frames: got 0, expected at least 1"),
        ({"size": (30, 32)}, "32x30.*nearest sizes are 32x24 and 32x32"),
        ({"size": (0, 32)}, "multiples of 8"),
        ({"size": (-8, 32)}, "nearest sizes are 32x8"),
    ],
)
def test_bad_values_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    model = make_model()
    with pytest.raises(UserError, match=message):
        model.generate(**{"prompt": FOX, **options})
    assert backbone_of(model).batches == []


def test_a_cut_prompt_is_told() -> None:
    with pytest.warns(ModelWarning, match="limit of 6 tokens.*'blue background'"):
        make_model().generate("a fox moving left over the blue background")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_model().generate(FOX)


def test_a_negative_prompt_without_guidance_is_told() -> None:
    with pytest.warns(ModelWarning, match="no effect without guidance"):
        make_model().generate(FOX, negative_prompt="a cat")


def test_stochasticity_without_effect_is_told() -> None:
    model = make_model("teacher")
    with pytest.warns(ModelWarning, match="stochasticity: has no effect with the sampler ddim"):
        model.generate("a star", steps=1, stochasticity=0.5)


def test_pixels_are_rounded_and_clipped() -> None:
    pixels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(pixels)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_animatediff(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture(scope="module")
def student(teacher: Path) -> Path:
    return make_student(teacher, teacher.parent / "student")


def make_student(teacher: Path, folder: Path, **notes: Any) -> Path:
    backbone = load_backbone(teacher, device="cpu", dtype="float32")
    torch.manual_seed(0)
    backbone.add_adapter("student", rank=2, alpha=4.0, trainable=True)
    for parameter in backbone.adapter_parameters("student").values():
        torch.nn.init.normal_(parameter, std=0.1)
    card = {"base": "../tiny", "original_steps": 20, "timestep_scaling": 4.0, "steps": 2}
    return save_adapter(backbone, "student", folder, {**card, **notes})


def test_teacher_folder_agrees_with_the_stock_pipeline(teacher: Path) -> None:
    model = load(teacher, device="cpu", dtype="float32")
    ours = model.generate(PROMPTS[0], steps=5, seed=7)
    pipeline = model.backbone.to_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS[0],
        num_frames=FRAMES,
        height=SIZE,
        width=SIZE,
        num_inference_steps=5,
        guidance_scale=ours.settings["guidance"],
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).frames[0]
    assert ours.frames.shape == theirs.shape == (FRAMES, SIZE, SIZE, 3)
    assert np.abs(ours.frames / 255 - theirs).max() < 0.01


def test_student_folder_is_its_teacher_with_the_adapter(teacher: Path, student: Path) -> None:
    model = load(student, device="cpu", dtype="float32")
    clip = model.generate(PROMPTS[0], seed=7)
    assert (clip.settings["steps"], clip.settings["sampler"]) == (2, "consistency")
    apart = load_backbone(teacher, device="cpu", dtype="float32")
    load_adapter(apart, student, "mine")
    expected = VideoModel("apart", apart, model.defaults, model.device, "mine")
    plain = VideoModel("plain", apart, model.defaults, model.device)
    frames = expected.generate(PROMPTS[0], seed=7).frames
    assert np.abs(clip.frames.astype(int) - frames).max() <= 1
    assert np.abs(clip.frames.astype(int) - plain.generate(PROMPTS[0], seed=7).frames).max() > 5


def test_full_students_have_weights_of_their_own(teacher: Path, tmp_path: Path) -> None:
    backbone = load_backbone(teacher, device="cpu", dtype="float32", mode="full")
    backbone.add_adapter("student", rank=0, alpha=0.0, trainable=True)
    with torch.no_grad():
        for parameter in backbone.adapter_parameters("student").values():
            parameter.mul_(1.1)
    card = {"base": str(teacher), "original_steps": 20, "timestep_scaling": 4.0}
    folder = save_adapter(backbone, "student", tmp_path / "full", card)
    model = load(folder, device="cpu", dtype="float32")
    live = VideoModel("live", backbone, model.defaults, model.device, "student")
    plain = VideoModel("plain", backbone, model.defaults, model.device)
    frames = model.generate(PROMPTS[0]).frames
    assert np.array_equal(frames, live.generate(PROMPTS[0]).frames)
    assert not np.array_equal(frames, plain.generate(PROMPTS[0]).frames)


def test_another_teachers_weights_are_told(teacher: Path, tmp_path: Path) -> None:
    folder = make_student(
        teacher,
        tmp_path,
        base=str(teacher),
        base_fingerprint="0" * 16,
        base_fingerprint_half="0" * 16,
    )
    with pytest.raises(UserError, match="made for another base: it was trained on weights"):
        load(folder, device="cpu", dtype="float32")


def test_length_is_not_limited_by_the_motion_modules(teacher: Path) -> None:
    model = load(teacher, device="cpu", dtype="float32")
    clip = model.generate(PROMPTS[0], steps=1, frames=17)
    assert len(clip.frames) == 17
    clip = model.generate(PROMPTS[0], steps=1, frames=6, size=(SIZE, SIZE * 2))
    assert clip.frames.shape == (6, SIZE, SIZE * 2, 3)


@pytest.mark.parametrize(
    ("prompts", "seeds", "options", "message"),
    [
        (["a", "b"], [1], {}, "prompts, seeds: got 2 and 1, expected one seed for each"),
        ([], [], {}, "prompts, seeds: got 0 and 0"),
        ("a fox", [1], {}, "prompts: got 'a fox', expected a list"),
        (["a"], 1, {}, "seeds: got 1, expected a list"),
        ([None], [1], {}, "prompt: got None, expected text"),
        (["a"], [2**64], {}, "seed: got 18446744073709551616, expected -9223"),
        (["a"], [1.5], {}, "seed: got 1.5, expected a whole number"),
        (["a"], [1], {"steps": 2.5}, "steps: got 2.5, expected a whole number"),
        (["a"], [1], {"frames": "8"}, "frames: got '8', expected a whole number"),
        (["a"], [1], {"size": "128x128"}, r"size: got '128x128', expected \(height, width\)"),
        (["a"], [1], {"size": (128.0, 128)}, "size: got 128.0, expected a whole number"),
        (["a"], [1], {"guidance": "7"}, "guidance: got '7', expected a number"),
        (["a"], [1], {"stochasticity": None, "sampler": 5}, "sampler: got 5, expected the name"),
        (["a"], [1], {"negative_prompt": None}, "negative_prompt: got None, expected text"),
    ],
)
def test_values_of_a_wrong_kind_are_told_before_any_step(
    prompts: Any, seeds: Any, options: dict[str, Any], message: str
) -> None:
    model = make_model()
    with pytest.raises(UserError, match=message):
        model.generate_batch(prompts, seeds, **options)
    backbone: Any = model.backbone
    assert backbone.batches == []


def test_seeds_of_numpy_and_all_that_torch_takes_are_taken() -> None:
    clips = make_model().generate_batch(["a"] * 3, [np.int64(3), -(2**63), 2**64 - 1], steps=1)
    assert [clip.seed for clip in clips] == [3, -(2**63), 2**64 - 1]
