"""Exports are loaded by stock diffusers in a process of its own, which knows nothing of mcm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_ltxv_lora_to_diffusers,
    _convert_non_diffusers_wan_lora_to_diffusers,
)
from safetensors.torch import load_file, save_file
from tests.export.students import PROMPT, make_student, our_frames, run_cards

from mcm.backbones.adapters import LORA_FILE, merge_adapter
from mcm.backbones.loading import load_backbone
from mcm.errors import UserError
from mcm.export.card import CardOptions
from mcm.export.comfyui import EXPERT_FILES, FILE, IMAGE_FILE, MOTION_FILE
from mcm.export.export import export_student
from mcm.export.student import Exported

FAMILIES = (
    "animatediff",
    "image",
    "modelscope",
    "wan",
    "wan-2.2",
    "fluent-dit",
    "ltx",
    "cogvideox",
    "cogvideox-5b",
)
OPTIONS = CardOptions(prompt=PROMPT)


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A student of every family."""
    return {name: make_student(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture(scope="module")
def student(students: dict[str, Path]) -> Path:
    """The student of AnimateDiff."""
    return students["animatediff"]


def test_stock_diffusers_makes_our_frames(students: dict[str, Path], tmp_path: Path) -> None:
    """The lines of code in every card load the export and make the clip of our pipeline."""
    jobs = [(name, kind) for name in FAMILIES for kind in ("lora", "pipeline")]
    jobs += [(name, "motion") for name in ("animatediff", "image")]
    exports = {
        f"{name}-{kind}": export_student(
            str(students[name]), tmp_path / f"{name}-{kind}", kind, OPTIONS
        )
        for name, kind in jobs
    }
    frames = run_cards(exports, tmp_path)
    for name in FAMILIES:
        ours, teacher = our_frames(students[name]), our_frames(students[name].parent / "teacher")
        assert np.abs(ours - teacher).max() > 1e-2, name
        for kind in ("lora", "pipeline", "motion"):
            if (theirs := frames.get(f"{name}-{kind}")) is not None:
                assert theirs.shape == ours.shape
                assert np.abs(theirs - ours).max() <= 1e-4, (name, kind)


def test_a_lora_export_holds_all_that_others_need(student: Path, tmp_path: Path) -> None:
    folder = export_student(str(student), tmp_path / "export", "lora", CardOptions("apache-2.0"))
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


@pytest.mark.parametrize("family", ["wan", "wan-2.2", "ltx"])
def test_native_keys_are_those_that_diffusers_translates_back(
    students: dict[str, Path], tmp_path: Path, family: str
) -> None:
    folder = export_student(str(students[family]), tmp_path / "export", "comfyui", OPTIONS)
    back = (
        _convert_non_diffusers_ltxv_lora_to_diffusers
        if family == "ltx"
        else _convert_non_diffusers_wan_lora_to_diffusers
    )
    files = EXPERT_FILES if family == "wan-2.2" else (FILE,)
    contents = Exported.find(str(students[family])).lora.values()
    for file, content in zip(files, contents, strict=True):
        theirs = back(load_file(folder / file))
        assert len(theirs) == 2 * len(content.pairs)
        for module, pair in content.pairs.items():
            for part, tensor in zip("AB", pair, strict=True):
                found = theirs[f"transformer.{module}.lora_{part}.weight"].float()
                torch.testing.assert_close(found, tensor, atol=2e-3, rtol=2e-3)


def test_exports_that_cannot_be_say_why(students: dict[str, Path], tmp_path: Path) -> None:
    for family, kind, message in (
        ("modelscope", "comfyui", "no LoRA loader for modelscope"),
        ("wan", "motion", "motion is for AnimateDiff.* of family wan"),
    ):
        with pytest.raises(UserError, match=message):
            export_student(str(students[family]), tmp_path / "export", kind)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", ["modelscope", "wan-2.2"])
@torch.no_grad()
def test_an_export_is_a_student_again(
    students: dict[str, Path], tmp_path: Path, family: str
) -> None:
    folder = export_student(str(students[family]), tmp_path / "export", "lora", OPTIONS)
    again, before = (
        load_backbone(students[family].parent / "teacher", "cpu", "float32") for _ in range(2)
    )
    merge_adapter(again, folder)
    merge_adapter(before, students[family])
    for ours, theirs in zip(again.network.parameters(), before.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (Exported.find(str(folder)).auxiliary) == [folder / "auxiliary" / "head.safetensors"]


def test_the_card_shows_base_metrics_and_samples(student: Path, tmp_path: Path) -> None:
    hub = tmp_path / "models--owner--teacher" / "snapshots" / "abc123"
    shutil.copytree(student.parent / "teacher", hub)
    copy = shutil.copytree(student, tmp_path / "student")
    notes = json.loads((copy / "mcm.json").read_text())
    (copy / "mcm.json").write_text(json.dumps(notes | {"base": str(hub)}))
    results = {"fvd": {"value": 123.4}, "fid": {"value": None}}
    report = {"protocol": "tiny", "runs": [{"model": "mine", "steps": 4, "results": results}]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "clip.gif").write_bytes(b"gif")
    options = CardOptions("mit", PROMPT, tmp_path / "report.json", (tmp_path / "clip.gif",))
    folder = export_student(str(copy), tmp_path / "export", "lora", options)
    text = (folder / "README.md").read_text()
    assert "base_model: owner/teacher\n" in text
    assert "(revision `abc123`)" in text
    assert "| mine | 4 | 123 | – |" in text
    assert "![clip.gif](samples/clip.gif)" in text
    assert (folder / "samples" / "clip.gif").read_bytes() == b"gif"
    assert str(tmp_path / "models") not in text
    with pytest.raises(UserError, match=r"sample: nowhere.mp4: no such file"):
        export_student(
            str(copy), tmp_path / "other", "lora", CardOptions(samples=(Path("nowhere.mp4"),))
        )


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
