"""Exports are loaded by stock diffusers in a process of its own, which knows nothing of mcm."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_ltxv_lora_to_diffusers,
    _convert_non_diffusers_wan_lora_to_diffusers,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.export.students import PROMPT, make_student, our_frames, run_cards

from mcm.backbones.adapters import LORA_FILE, merge_adapter
from mcm.backbones.loading import load_backbone
from mcm.errors import UserError
from mcm.export.card import CardOptions
from mcm.export.comfyui import EXPERT_FILES, FILE, IMAGE_FILE, MOTION_FILE
from mcm.export.export import export_student
from mcm.export.student import Exported
from mcm.sampling.catalog import find_student
from mcm.sampling.loading import load

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


class Students(dict[str, Path]):
    """A student of every family, made when it is first asked for."""

    def __init__(self, places: pytest.TempPathFactory) -> None:
        super().__init__()
        self.places = places

    def __missing__(self, name: str) -> Path:
        self[name] = make_student(name, self.places.mktemp(name))
        return self[name]


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> Students:
    """The students."""
    return Students(tmp_path_factory)


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
    assert card.startswith('---\nlicense: "apache-2.0"\nlibrary_name: ')
    assert f'load_lora_weights("{folder}")' in card
    assert '"rank": 2' in card
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert config["original_inference_steps"] == 20


def test_comfyui_keys_change_the_weights_as_we_do(student: Path, tmp_path: Path) -> None:
    """Its loader adds (alpha / r) · up · down to the module that the key names."""
    folder = export_student(str(student), tmp_path / "export", "comfyui")
    exported = Exported.find(str(student))
    weights = exported.backbone.variants.base.state_dict()
    base = {key: value.clone() for key, value in weights.items()}
    merged = exported.merged.variants.base.state_dict()
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
    assert 'base_model: "owner/teacher"\n' in text
    assert "(revision `abc123`)" in text
    assert 'from_pretrained("owner/teacher", revision="abc123")' in text
    assert json.loads((folder / "mcm.json").read_text())["base"] == "owner/teacher@abc123"
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
        export_student(
            str(student), tmp_path / "export", push="nobody/nothing", base="owner/teacher"
        )
    assert (tmp_path / "export" / LORA_FILE).is_file()


def test_an_export_for_a_hub_names_no_folder_of_this_machine(
    students: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcm.export.export.upload", lambda *_: None)
    call = partial(export_student, options=OPTIONS, push="me/mine")
    with pytest.raises(UserError, match=r"push: others cannot find the teacher in .*--base OWNER"):
        call(str(students["animatediff"]), tmp_path / "export")
    with pytest.raises(UserError, match="others cannot find the motion modules"):
        call(str(students["image"]), tmp_path / "export", base="owner/image")
    with pytest.raises(UserError, match="base: got 'teacher', expected OWNER/NAME"):
        call(str(students["animatediff"]), tmp_path / "export", base="teacher")
    for number, kind in enumerate(("lora", "motion", "pipeline", "comfyui")):
        base = None if kind in ("pipeline", "comfyui") else "owner/image@v1"
        folder = call(str(students["animatediff"]), tmp_path / str(number), kind, base=base)
        for file in ("README.md", "mcm.json"):
            if (folder / file).is_file():
                assert str(tmp_path.parent) not in (folder / file).read_text(), (kind, file)
    text = (tmp_path / "0" / "README.md").read_text()
    assert 'from_pretrained("owner/image", revision="v1")' in text
    assert 'load_lora_weights("me/mine")' in text


def test_the_shipped_student_runs_in_stock_diffusers(tmp_path: Path) -> None:
    options = CardOptions(prompt='a "fox" moving left on a blue background')
    folder = export_student("fluent-mcm", tmp_path / "export", "lora", options)
    text = (folder / "README.md").read_text()
    assert "\n# fluent-mcm: " in text
    assert "A student of `fluent`, which comes with the package mcm," in text
    assert "base_model" not in text
    assert "- auxiliary: no motion head and no critic" in text
    assert json.loads((folder / "mcm.json").read_text())["base"] == "fluent"
    frames = run_cards({"export": folder}, tmp_path)["export"]
    assert frames.shape == (16, 128, 128, 3)
    assert np.diff(frames, axis=0).std() > 0.01, "it moves"


def test_a_run_gives_the_card_its_name(student: Path, tmp_path: Path) -> None:
    run = tmp_path / "my-run"
    shutil.copytree(student, run / "student")
    text = (export_student(str(run / "student"), tmp_path / "export") / "README.md").read_text()
    assert "\n# my-run: " in text


def test_quotes_in_prompt_and_licence_are_kept(student: Path, tmp_path: Path) -> None:
    prompt = 'a "star"\n\\ and an é'
    options = CardOptions('odd: "licence"', prompt)
    text = (export_student(str(student), tmp_path / "e", "lora", options) / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == 'odd: "licence"'
    tree = ast.parse(text.split("```python\n")[1].split("```")[0])
    assert prompt in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]


def test_what_an_export_lacks_is_said(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head is there, the critic is not; motion LoRA has no place for feed-forward layers."""
    pairs = Exported.find(str(student)).lora[LORA_FILE].pairs
    motion = [name for name in pairs if "motion_modules." in name]
    forward = [name for name in motion if ".ff.net." in name]
    assert forward
    for kind, said in (
        ("lora", "auxiliary: no critic, as there is none beside the student"),
        ("comfyui", f"motion LoRA: {len(forward)} of the {len(motion)} layers"),
    ):
        text = (export_student(str(student), tmp_path / kind, kind) / "README.md").read_text()
        assert f"\n- {said}" in text
        assert f"mcm: warning: {said}" in capsys.readouterr().err


def test_a_lora_export_loads_the_network_alone_and_as_it_is_stored(
    student: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(student.parent, tmp_path / "run"))
    file = run / "teacher" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = {key: value.bfloat16() for key, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    notes = json.loads((run / "student" / "mcm.json").read_text())
    changed = notes | {"base": str(run / "teacher")}
    (run / "student" / "mcm.json").write_text(json.dumps(changed))
    for part in ("vae", "text_encoder"):
        [weights_file] = (run / "teacher" / part).glob("*.safetensors")
        weights_file.rename(weights_file.with_suffix(".away"))
    assert Exported.find(str(run / "student")).backbone.dtype == torch.bfloat16
    export_student(str(run / "student"), tmp_path / "export")
    for part in ("vae", "text_encoder"):
        [weights_file] = (run / "teacher" / part).glob("*.away")
        weights_file.rename(weights_file.with_suffix(".safetensors"))
    folder = export_student(str(run / "student"), tmp_path / "pipeline", "pipeline")
    formats = {
        part: next(iter(load_file(next((folder / part).glob("*.safetensors"))).values())).dtype
        for part in ("unet", "vae")
    }
    assert formats == {"unet": torch.bfloat16, "vae": torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merged_pipeline_is_sampled_as_the_student_it_is(
    students: dict[str, Path], tmp_path: Path, family: str
) -> None:
    """Its scheduler is for others; ours has that of the training, whatever the steps."""
    student = students[family]
    folder = export_student(str(student), tmp_path / "export", "pipeline", OPTIONS)
    ours, theirs = (load(place, "cpu", "float32") for place in (str(student), str(folder)))
    assert theirs.defaults == ours.defaults
    assert theirs.backbone.spec == ours.backbone.spec
    for steps in (2, 4):
        expected = ours.generate(PROMPT, steps).frames.astype(int)
        assert np.abs(theirs.generate(PROMPT, steps).frames - expected).max() <= 1
    with pytest.raises(UserError, match=r"is a whole network \(merged\)"):
        export_student(str(folder), tmp_path / "again")


@pytest.mark.parametrize(
    ("family", "notes", "said"),
    [
        ("animatediff", {"stochasticity": 0.5}, "- stochasticity: the student is made for 0.5, "),
        ("animatediff", {"stochasticity": 1.0, "steps": 3}, None),
        ("wan", {"steps": 3}, "- timesteps: 3 of the 20 that the student was trained on are not"),
        ("wan", {"steps": 5}, None),
    ],
)
def test_where_stock_samplers_cannot_follow_it_is_said(
    students: dict[str, Path],
    tmp_path: Path,
    family: str,
    notes: dict[str, float],
    said: str | None,
) -> None:
    copy = changed(students[family], tmp_path / "student", notes)
    text = (export_student(str(copy), tmp_path / "export") / "README.md").read_text()
    assert said in text if said else "stochasticity: " not in text and "timesteps: " not in text


def changed(student: Path, place: Path, notes: dict[str, float]) -> Path:
    """Copy a student and change its notes."""
    copy = Path(shutil.copytree(student, place))
    kept = json.loads((copy / "mcm.json").read_text())
    (copy / "mcm.json").write_text(json.dumps(kept | notes))
    return copy


def with_pairs(student: Path, place: Path, motion: bool) -> Path:
    """Copy a student and keep its motion modules alone, or all but those."""
    copy = Path(shutil.copytree(student, place))
    weights = load_file(copy / LORA_FILE)
    kept = {key: value for key, value in weights.items() if ("motion_modules." in key) == motion}
    header = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 2})}
    save_file(kept, copy / LORA_FILE, metadata=header)
    return copy


@pytest.mark.parametrize("motion", [True, False])
def test_students_of_one_kind_of_layers_have_the_files_of_that_kind(
    student: Path, tmp_path: Path, motion: bool
) -> None:
    copy = with_pairs(student, tmp_path / "student", motion)
    folder = export_student(str(copy), tmp_path / "motion", "motion", OPTIONS)
    text = (folder / "README.md").read_text()
    assert (folder / LORA_FILE).is_file() != motion
    assert ("load_lora_weights" in text) != motion
    assert run_cards({"motion": folder}, tmp_path)["motion"].std() > 0
    folder = export_student(str(copy), tmp_path / "comfyui", "comfyui")
    there = [name for name in (IMAGE_FILE, MOTION_FILE) if (folder / name).is_file()]
    assert there == [MOTION_FILE if motion else IMAGE_FILE]
    text = (folder / "README.md").read_text()
    assert [name for name in (IMAGE_FILE, MOTION_FILE) if f"`{name}` into" in text] == there


def test_what_float16_cannot_hold_is_refused(student: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(student, tmp_path / "student"))
    with safe_open(copy / LORA_FILE, "pt") as file:
        header = file.metadata()
    weights = {key: value * 1e6 for key, value in load_file(copy / LORA_FILE).items()}
    save_file(weights, copy / LORA_FILE, metadata=header)
    with pytest.raises(UserError, match=r"too large for float16, .* use lora or pipeline"):
        export_student(str(copy), tmp_path / "export", "comfyui")
    assert not list(tmp_path.glob("*export*"))


def test_folders_beside_the_export_are_left_alone(student: Path, tmp_path: Path) -> None:
    (tmp_path / "export.part").mkdir()
    (tmp_path / "export.part" / "mine.txt").write_text("mine")
    folder = export_student(str(student), tmp_path / "export")
    assert {path.name for path in tmp_path.iterdir()} == {"export", "export.part"}
    assert (tmp_path / "export.part" / "mine.txt").read_text() == "mine"
    modes = {path.stat().st_mode for path in folder.rglob("*") if path.is_file()}
    assert len(modes) == 1, "others may read the weights as they may the card"


def test_an_output_that_cannot_be_is_named(student: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for place, message in (
        (tmp_path / "link", "exists already"),
        (tmp_path / "file" / "x", "file is a file, not a folder"),
        (tmp_path / "new" / "..", "is no name"),
    ):
        with pytest.raises(UserError, match=message):
            export_student(str(student), place)
    assert not (tmp_path / "new").exists()


def test_samples_have_names_of_their_own(student: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my clip.gif").touch()
    clips = tuple(tmp_path / name / "my clip.gif" for name in ("a", "b"))
    with pytest.raises(UserError, match=r"sample: got two clips my clip\.gif"):
        export_student(str(student), tmp_path / "export", options=CardOptions(samples=clips))
    options = CardOptions(samples=clips[:1])
    text = (export_student(str(student), tmp_path / "e", options=options) / "README.md").read_text()
    assert "](samples/my%20clip.gif)" in text


@pytest.mark.parametrize(
    "runs",
    [
        [],
        ["x"],
        [{"steps": 4}],
        [{"model": "m", "steps": 4, "results": None}],
        [{"model": "m", "steps": 4, "results": {"fvd": {"value": "x"}}}],
    ],
)
def test_reports_that_are_none_are_told(student: Path, tmp_path: Path, runs: object) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"protocol": "p", "runs": runs}))
    with pytest.raises(UserError, match=r"report\.json: cannot be read as report\.json of `mcm"):
        export_student(str(student), tmp_path / "export", options=CardOptions(metrics=report))
    assert not (tmp_path / "export").exists()


def test_a_student_is_found_without_its_teacher(student: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(student, tmp_path / "student")
    notes = json.loads((copy / "mcm.json").read_text())
    (copy / "mcm.json").write_text(json.dumps(notes | {"base": "/gone/teacher"}))
    found = find_student(str(copy))
    assert found is not None
    assert found.folder == copy
    with pytest.raises(UserError, match="no teacher at '/gone/teacher'"):
        load(str(copy))
