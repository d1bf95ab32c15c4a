"""Exports are loaded by stock diffusers in a process of its own, which knows nothing of mcm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.backbones.test_variants import stir
from tests.backbones.tiny import FRAMES, SIZE, load_tiny, make_tiny_animatediff

from mcm.backbones.adapters import LORA_FILE, save_adapter
from mcm.errors import UserError
from mcm.export.comfyui import IMAGE_FILE, MOTION_FILE
from mcm.export.export import export_student
from mcm.export.student import Exported
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.pipeline import load
from mcm.sampling.samplers import Plan, consistency

STOCK = """
import sys, numpy, torch
from diffusers import AnimateDiffPipeline, LCMScheduler
kind, base, folder, out = sys.argv[1:]
if kind == "lora":
    pipeline = AnimateDiffPipeline.from_pretrained(base)
    pipeline.load_lora_weights(folder)
    assert pipeline.get_list_adapters(), "nothing was loaded"
    pipeline.scheduler = LCMScheduler.from_pretrained(folder, subfolder="scheduler")
else:
    pipeline = AnimateDiffPipeline.from_pretrained(folder)
pipeline.set_progress_bar_config(disable=True)
video = pipeline(
    "a star going up", num_frames=4, height=32, width=32, num_inference_steps=4,
    guidance_scale=1.0, generator=torch.Generator().manual_seed(5), output_type="np",
).frames
assert "mcm" not in sys.modules
numpy.save(out, video)
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a stirred student and its auxiliary weights, alpha unlike rank."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("run")
    teacher = make_tiny_animatediff(folder / "teacher")
    backbone = load_tiny(teacher)
    backbone.add_adapter("student", rank=2, alpha=5.0)
    stir(backbone, "student")
    notes = {"base": str(teacher), "original_steps": 20, "timestep_scaling": 4.0}
    save_adapter(backbone, "student", folder / "student", notes)
    (folder / "student" / "recipe.yaml").write_text("model: {teacher: tiny}\n")
    (folder / "auxiliary").mkdir()
    save_file({"x": torch.ones(1)}, folder / "auxiliary" / "head.safetensors")
    return folder / "student"


def our_frames(student: Path) -> np.ndarray:
    """Return our pipeline's frames of STOCK's clip as floats in [0, 1], (1, t, h, w, 3)."""
    model = load(str(student), "cpu", "float32")
    backbone, defaults = model.backbone, model.defaults
    shape = backbone.spec.latent_shape(FRAMES, SIZE, SIZE)
    plan = Plan(shape, 4, defaults.original_steps, defaults.timestep_scaling)
    with torch.no_grad():
        denoiser = Denoiser(backbone, backbone.encode_prompt(["a star going up"]))
        pixels = backbone.decode_frames(consistency(denoiser, Noise.from_seeds([5]), plan))
    return ((pixels + 1) / 2).clamp(0, 1).permute(0, 1, 3, 4, 2).numpy()


@pytest.mark.parametrize("format", ["lora", "pipeline"])
def test_stock_diffusers_makes_our_frames(student: Path, tmp_path: Path, format: str) -> None:
    folder = export_student(str(student), tmp_path / "export", format)
    teacher, out = student.parent / "teacher", tmp_path / "video.npy"
    command = [sys.executable, "-c", STOCK, format, str(teacher), str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs, ours = np.load(out), our_frames(student)
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() <= 1e-4
    assert ours.std() > 0.01


def test_a_lora_export_holds_all_that_others_need(student: Path, tmp_path: Path) -> None:
    folder = export_student(str(student), tmp_path / "export", "lora", licence="apache-2.0")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "mcm.json",
        "recipe.yaml",
        "pytorch_lora_weights.safetensors",
        "scheduler/scheduler_config.json",
        "auxiliary/head.safetensors",
    }
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nbase_model: ")
    assert f'load_lora_weights("{folder}")' in card
    assert '"rank": 2' in card
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert config["original_inference_steps"] == 20


def test_comfyui_keys_change_the_weights_as_we_do(student: Path, tmp_path: Path) -> None:
    """Its loader adds (alpha / r) · up · down to the module that the key names."""
    folder = export_student(str(student), tmp_path / "export", "comfyui")
    exported = Exported.find(str(student))
    base = exported.backbone.variants.base.state_dict()
    merged = exported.merged().variants.base.state_dict()
    names = {"lora_unet_" + k.removesuffix(".weight").replace(".", "_"): k for k in base}
    tensors = load_file(folder / IMAGE_FILE)
    modules = {key.partition(".")[0] for key in tensors}
    assert modules
    for module in modules:
        down, up = (tensors[f"{module}.lora_{part}.weight"].float() for part in ("down", "up"))
        scale = float(tensors[f"{module}.alpha"]) / down.shape[0]
        key = names[module]
        change = scale * (up.flatten(1) @ down.flatten(1)).view_as(base[key])
        torch.testing.assert_close(base[key] + change, merged[key], atol=2e-3, rtol=2e-3)
    motion = load_file(folder / MOTION_FILE)
    assert all("temporal_transformer.transformer_blocks" in key for key in motion)
    assert any(key.endswith("attention_blocks.1.processor.to_out_lora.up.weight") for key in motion)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.unlink(), "no such file"),
        (lambda s: s.write_bytes(s.read_bytes()[:300]), "broken or half-downloaded"),
        (
            lambda s: save_file({f"base_model.model.{k}": v for k, v in load_file(s).items()}, s),
            "is not known; expected unet",
        ),
        (
            lambda s: save_file({k: v[:, :1].contiguous() for k, v in load_file(s).items()}, s),
            "made for another base",
        ),
    ],
)
def test_broken_students_are_refused_and_nothing_is_written(
    student: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    copy = shutil.copytree(student, tmp_path / "student")
    change(copy / LORA_FILE)
    with pytest.raises(UserError, match=message):
        export_student(str(copy), tmp_path / "export")
    assert not list(tmp_path.glob("export*"))


def test_other_mistakes_are_named(student: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean lora"):
        export_student(str(student), tmp_path / "export", "loar")
    with pytest.raises(UserError, match="is a teacher"):
        export_student(str(student.parent / "teacher"), tmp_path / "export")
    with pytest.raises(UserError, match="exists already"):
        export_student(str(student), tmp_path)


def test_a_failed_upload_leaves_the_export(student: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"push: nobody/nothing: .*the export is complete"):
        export_student(str(student), tmp_path / "export", push="nobody/nothing")
    assert (tmp_path / "export" / LORA_FILE).is_file()
