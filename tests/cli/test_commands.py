"""Each command hands its options to the room that does the work."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mcm.cli import main
from mcm.recipe import dump, resolve
from mcm.sampling.requests import GenerateRequest

RECIPE = """
model: {teacher: fluent}
data: {videos: videos}
trainer: {output: out, steps: 10}
"""

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a module with the given names in the place of a real one."""

    def put(name: str, **names: Any) -> None:
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)

    return put


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    return file


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_dry_run_prints_the_resolved_recipe(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("distill", recipe_file, "optimizer.lr=1e-5", "--dry-run") == 0
    assert capsys.readouterr().out == dump(resolve(recipe_file, ["optimizer.lr=1e-5"]))


def test_unknown_key_exits_2_with_path_and_nearest(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("distill", recipe_file, "optimizer.lrr=1", "--dry-run") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "mcm: override: optimizer.lrr: unknown key; the nearest valid key is optimizer.lr\n"
    )


@pytest.mark.parametrize("resume", ["latest", "out/it's: a [path]"])
def test_distill_runs_the_resolved_recipe(
    recipe_file: Path, install: Install, capsys: pytest.CaptureFixture[str], resume: str
) -> None:
    seen: list[Any] = []

    def distill(recipe: Any) -> Path:
        seen.append(recipe)
        return Path("out/student")

    install("mcm.distillation.run", distill=distill)
    assert call("distill", recipe_file, "trainer.seed=3", "--resume", resume) == 0
    assert capsys.readouterr().out == f"{Path('out/student')}\n"
    assert [(r.trainer.seed, r.trainer.resume) for r in seen] == [(3, resume)]


def test_generate_hands_over_every_option(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, Any]] = []

    def generate_files(request: GenerateRequest, done: Callable[[Path], None]) -> None:
        seen.append(asdict(request))
        done(Path("a.mp4"))
        done(Path("b.mp4"))

    install("mcm.sampling.generate", generate_files=generate_files)
    words = "--steps 4 --seed 7 -o fox.mp4 --guidance 7.5 --sampler ddim --format mp4 --frames 16"
    more = "--model fluent --size 128x96 --device cpu --dtype float32 --overwrite --skip-existing"
    rest = "--negative-prompt blur --stochasticity 0.5 --loop --alpha --batch-size 2"
    given = "--image a.png --control poses/net --control-frames poses.mp4 --control-scale 0.7"
    assert call("generate", "a fox", *f"{words} {more} {rest} {given}".split()) == 0
    assert capsys.readouterr().out == "a.mp4\nb.mp4\n"
    assert seen == [
        {
            "prompt": "a fox",
            "prompts_file": None,
            "model": "fluent",
            "steps": 4,
            "seed": 7,
            "output": Path("fox.mp4"),
            "guidance": 7.5,
            "sampler": "ddim",
            "format": "mp4",
            "frames": 16,
            "size": "128x96",
            "negative_prompt": "blur",
            "stochasticity": 0.5,
            "loop": True,
            "alpha": True,
            "image": Path("a.png"),
            "control": "poses/net",
            "control_frames": Path("poses.mp4"),
            "control_scale": 0.7,
            "batch_size": 2,
            "device": "cpu",
            "dtype": "float32",
            "overwrite": True,
            "skip_existing": True,
        }
    ]


@pytest.mark.parametrize(("flags", "kind"), [((), "videos"), (("--images",), "images")])
def test_data_cache_picks_the_kind(
    flags: tuple[str, ...], kind: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[Any, ...]] = []

    def record(name: str) -> Callable[..., str]:
        def cache(source: object, backbone: object, output: Path, **options: Any) -> str:
            seen.append((name, source, backbone, output, options["batch_size"]))
            assert options.get("keep_frames") == (3 if name == "videos" else None)
            assert options.get("fps") == (4.0 if name == "videos" else None)
            assert (options["size"], options["limit"]) == ((96, 128), 7)
            return "12 samples"

        return cache

    install("mcm.data.cache", cache_videos=record("videos"), cache_images=record("images"))
    install("mcm.data.sources", open_source=lambda place, captions: ("opened", place, captions))
    install("mcm.backbones.loading", load_backbone=lambda name, device: (name, device))
    words = "--batch-size 2 --keep-frames 3 --captions c.csv --model mine --device cpu"
    words += " --size 128x96 --limit 7 --fps 4"
    assert call("data", "cache", "shards/*.tar", "-o", "latents", *words.split(), *flags) == 0
    assert capsys.readouterr().out == "12 samples\n"
    source = ("opened", "shards/*.tar", Path("c.csv"))
    assert seen == [(kind, source, ("mine", "cpu"), Path("latents"), 2)]


def test_fluent_pack_needs_the_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "fluent", "pack", tmp_path, "-o", tmp_path / "pack.zip") == 2
    assert "npm package not found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
