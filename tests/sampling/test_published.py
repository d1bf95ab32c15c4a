"""Published adapters, as PEFT itself writes them, on tiny teachers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AnimateDiffPipeline, DiffusionPipeline, MotionAdapter
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tests.export.students import make_teacher

from mcm.errors import UserError
from mcm.export.export import export_student
from mcm.sampling import published
from mcm.sampling.catalog import find_model
from mcm.sampling.loading import load
from mcm.sampling.published import PUBLISHED

TARGETS = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "resnets.0.conv1",
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as the hub has them: adapters of rank 4 and alpha 8, and their teachers."""
    hub = tmp_path_factory.mktemp("hub")
    for name, family in (("modelscopet2v-laion", "modelscope"), ("animatediff-webvid", "image")):
        folder = hub / PUBLISHED[name].model
        make_teacher(family, folder)
        if (folder / "mcm.json").is_file() and family == "image":
            (folder / "mcm.json").write_text(json.dumps({"frames": 4, "fps": 8}))
            motion = PUBLISHED[name].motion_adapter
            assert motion is not None
            shutil.copytree(folder.parent / "motion", hub / motion)
        torch.manual_seed(1)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS)
        peft = get_peft_model(stock(hub, name).unet, config)
        for key, parameter in peft.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.2)
        peft.save_pretrained(hub / published.REPOSITORY / name)
    return hub


@pytest.fixture
def reachable(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub is there, with a copy that may be spoilt."""
    monkeypatch.setattr("mcm.backbones.hub._fetch", lambda name, *_: hub / name)
    return hub


def stock(hub: Path, name: str) -> Any:
    """Return the stock pipeline of a published adapter's teacher."""
    base = PUBLISHED[name]
    if base.motion_adapter is None:
        return DiffusionPipeline.from_pretrained(hub / base.model)
    motion = MotionAdapter.from_pretrained(hub / base.motion_adapter)
    return AnimateDiffPipeline.from_pretrained(hub / base.model, motion_adapter=motion)


@pytest.mark.parametrize("name", ["modelscopet2v-laion", "animatediff-webvid"])
def test_published_adapters_are_fused_as_peft_fuses_them(reachable: Path, name: str) -> None:
    model = load(name, "cpu", "float32")
    theirs = stock(reachable, name).unet
    teacher = {key: value.clone() for key, value in theirs.state_dict().items()}
    theirs = PeftModel.from_pretrained(theirs, str(reachable / published.REPOSITORY / name))
    merged = theirs.merge_and_unload().state_dict()
    ours = model.backbone.network.state_dict()
    changed = [key for key, value in merged.items() if (value - teacher[key]).abs().max() > 1e-3]
    assert any("proj_in" in key for key in changed)
    for key, value in merged.items():
        torch.testing.assert_close(ours[key], value)
    assert (model.defaults.original_steps, model.defaults.steps) == (50, 4)
    clip = model.generate("a star going up", frames=4, size=(32, 32))
    assert clip.frames.shape == (4, 32, 32, 3)


def test_an_adapter_that_crashes_stock_diffusers_is_exported_merged_alone(
    reachable: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"LoRA on .*proj_(in|out) and then crashes; use motion"):
        export_student("animatediff-webvid", tmp_path / "export", "lora")
    assert not list(tmp_path.iterdir())


def test_a_copied_folder_is_known_by_name_or_by_its_notes(reachable: Path, tmp_path: Path) -> None:
    source = reachable / published.REPOSITORY / "modelscopet2v-laion"
    teacher = reachable / PUBLISHED[source.name].model
    named = shutil.copytree(source, tmp_path / source.name)
    assert find_model(named).teacher == teacher
    other = shutil.copytree(source, tmp_path / "mine")
    with pytest.raises(UserError, match=r"nothing says its teacher; write mcm.json"):
        find_model(other)
    notes = {"base": str(teacher), "original_steps": 50, "timestep_scaling": 4.0}
    (other / "mcm.json").write_text(json.dumps(notes))
    assert find_model(other).teacher == teacher
    assert load(other, "cpu", "float32").defaults.sampler == "consistency"


def pickled(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def card(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def noted(folder: Path) -> None:
    base = PUBLISHED[folder.name].model
    notes = {"base": base, "original_steps": 50, "timestep_scaling": 4.0, "alpha": 3}
    (folder / "mcm.json").write_text(json.dumps(notes))


def with_bias(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(key for key in weights if ".to_q.lora_B" in key)
    bias = {name.replace("lora_B.weight", "lora_bias.weight"): torch.zeros(4)}
    save_file(weights | bias, file)


def half(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def quantised(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({key: value.to(torch.int8) for key, value in load_file(file).items()}, file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, r"adapter_model.bin: not a safetensors file.*convert it: python -c"),
        (card(r=3), "has rank 4, but its metadata says 3"),
        (card(lora_alpha=None), "lora_alpha: got None, expected a number"),
        (card(use_dora=True), "is a DoRA adapter; expected plain LoRA"),
        (card(bias="all"), "bias: got 'all'; plain LoRA alone can be read"),
        (card(modules_to_save=["conv_in"]), r"modules_to_save: got \['conv_in'\]; plain LoRA"),
        (card(alpha_pattern={"to_q": "x"}), "alpha_pattern: got {'to_q': 'x'}, expected numbers"),
        (noted, "its card says alpha 8.0, but mcm.json beside it 3; take it out"),
        (with_bias, "key .*to_q.lora_bias.* is not known; .*plain LoRA alone can be read"),
        (card(peft_type="LOHA"), "an adapter of type LOHA; expected plain LoRA"),
        (half, "broken or half-downloaded"),
        (quantised, "is of torch.int8; expected float32"),
    ],
)
def test_spoilt_adapters_are_explained(
    reachable: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    source = reachable / published.REPOSITORY / "modelscopet2v-laion"
    folder = shutil.copytree(source, tmp_path / source.name)
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load(folder, "cpu", "float32")


def test_an_adapter_of_another_family_is_refused(reachable: Path, tmp_path: Path) -> None:
    source = reachable / published.REPOSITORY / "animatediff-webvid"
    folder = shutil.copytree(source, tmp_path / "modelscopet2v-real")
    with pytest.raises(UserError, match="made for another base"):
        load(folder, "cpu", "float32")
