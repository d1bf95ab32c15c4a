"""A hub that is not there, one that is a folder, and its cache."""

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.backbones.family import folder_of

from mcm.backbones.hub import fetch, name_of, split_name, wanted
from mcm.backbones.loading import load_backbone
from mcm.errors import UserError
from mcm.sampling.catalog import base_name, find_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Repositories as folders, downloaded as `huggingface_hub` lays its cache out."""

    def __init__(self, cache: Path, repositories: dict[str, Path]) -> None:
        self.cache, self.repositories, self.online = cache, repositories, True
        self.revisions: list[str | None] = []

    def model_info(self, _: object, repository: str, revision: str | None) -> SimpleNamespace:
        if not self.online:
            raise ConnectionError("no route to the hub\nand more")
        if repository not in self.repositories:
            raise ValueError("404: Repository Not Found")
        root = self.repositories[repository]
        files = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in files])

    def snapshot_download(
        self,
        repository: str,
        revision: str | None,
        allow_patterns: Sequence[str] = (),
        local_files_only: bool = False,
    ) -> str:
        place = self.cache / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
        if local_files_only:
            if not place.is_dir():
                raise FileNotFoundError(repository)
            return str(place)
        self.revisions.append(revision)
        root = self.repositories[repository]
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(path.read_bytes())
        return str(place)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A hub with a tiny Wan; the working folder is empty."""
    fake = FakeHub(tmp_path / "cache", {"owner/tiny-wan": folder_of("wan")})
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *a, **k: fake.model_info(*a, **k)
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return fake


def test_a_teacher_of_the_hub_is_loaded_and_keeps_its_revision(hub: FakeHub) -> None:
    backbone = load_backbone("owner/tiny-wan@v1.0", "cpu", "float32")
    assert backbone.spec.family == "wan"
    assert hub.revisions == ["v1.0"]
    assert base_name(backbone.source) == f"owner/tiny-wan@{COMMIT}"
    hub.online = False
    assert find_model("owner/tiny-wan@v1.0").teacher == backbone.source


def test_a_folder_here_wins(hub: FakeHub) -> None:
    place = Path("owner/tiny-wan")
    place.parent.mkdir()
    place.symlink_to(folder_of("wan"))
    assert load_backbone("owner/tiny-wan", "cpu", "float32").source == place
    assert find_model("owner/tiny-wan").teacher == place
    assert hub.revisions == []


def test_a_hub_out_of_reach_is_explained(hub: FakeHub) -> None:
    hub.online = False
    for find in (find_model, load_backbone):
        with pytest.raises(UserError) as caught:
            find("owner/tiny-wan@v1.0")
        assert str(caught.value) == (
            "owner/tiny-wan@v1.0: no such folder, and the hub does not give it: no route to the "
            "hub. Where there is a network, run `hf download owner/tiny-wan --revision v1.0 "
            "--local-dir owner/tiny-wan@v1.0` and bring the folder owner/tiny-wan@v1.0 here, "
            "which then is taken"
        )
    with pytest.raises(
        UserError, match=r'download yhzhai/mcm --include "animatediff-laion/\*" --l'
    ):
        find_model("animatediff-laion")
    with pytest.raises(UserError, match="did you mean modelscopet2v-laion"):
        find_model("modelscope-laion")


def test_a_student_of_the_hub_brings_its_teacher(hub: FakeHub, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "auxiliary").mkdir(parents=True)
    notes = {"base": f"owner/tiny-wan@{COMMIT}", "original_steps": 20, "timestep_scaling": 4.0}
    (mine / "mcm.json").write_text(json.dumps(notes))
    for name in ("pytorch_lora_weights.safetensors", "auxiliary/head.safetensors"):
        (mine / name).touch()
    hub.repositories["me/mine"] = mine
    files = find_model("me/mine")
    assert files.student is not None
    assert (files.student.folder / "pytorch_lora_weights.safetensors").is_file()
    assert (files.student.folder / "auxiliary" / "head.safetensors").is_file()
    assert name_of(files.teacher) == f"owner/tiny-wan@{COMMIT}"
    assert hub.revisions == [None, COMMIT]


def test_what_the_hub_lacks_is_told(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404: Repository Not Found"):
        fetch("owner/nothing")
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "model.bin").touch()
    hub.repositories["owner/pickles"] = tmp_path / "pickles"
    with pytest.raises(UserError, match="no safetensors weights, and pickled ones are refused"):
        fetch("owner/pickles")
    with pytest.raises(UserError, match="no such model"):
        load_backbone(Path("owner/tiny-wan"))


def test_names_of_the_hub() -> None:
    assert split_name("Wan-AI/Wan2.1-T2V-1.3B-Diffusers") == (
        "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        None,
    )
    assert split_name("owner/name@refs/pr/1") == ("owner/name", "refs/pr/1")
    assert not any(map(split_name, ("fluent", "./a/b", "../a", "/a/b", "a/b/c", "a/", "a/b@")))
    assert name_of(Path("/x/models--o--n/snapshots/abc/unet")) == "o/n@abc"
    assert name_of(Path("/x/models/o/n")) is None


def test_one_set_of_weights_is_wanted() -> None:
    chosen = {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "pytorch_lora_weights_2.safetensors",
        "auxiliary/critic.safetensors",
        "recipe.yaml",
    }
    others = {
        "README.md",
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "safety_checker/model.safetensors",
    }
    assert set(wanted(sorted(chosen | others))) == chosen
