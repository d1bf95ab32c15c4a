"""Whole runs on a tiny AnimateDiff: every recipe, kills, signals, several processes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.backbones.tiny import make_tiny_animatediff
from tests.backbones.tiny_families import make_tiny
from tests.evaluation.random_judges import save_features

from mcm.backbones.lora_files import LORA_FILE
from mcm.data.cache import cache_images, cache_videos
from mcm.data.samples import Sample
from mcm.distillation import checkpoints
from mcm.distillation.claim import claimed
from mcm.distillation.run import distill, prepare_backbone
from mcm.errors import UserError
from mcm.recipe import resolve

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
PROMPTS = ["a fox moving left on a blue background", "a star going up"]
TEACHERS = {"wan-2.2": "wan-2.2"} | dict.fromkeys(
    ("fluent-dit-mcm", "fluent-dit-lcm"), "fluent-dit"
)
"""Tiny models of recipes that need another than their family's usual."""
SMALL = [
    "model.adapter=null",
    "student.init=null",
    "student.rank=2",
    "student.alpha=2.0",
    "data.image_batch_size=null",
    "consistency.grid_points=8",
    "critic.backbone=scratch",
    "critic.width=8",
    "critic.frames_per_clip=2",
    "optimizer.warmup_steps=0",
    "trainer.batch_size=2",
    "trainer.gradient_accumulation=1",
    "trainer.tracker=none",
    "trainer.validation.prompts=[]",
    "trainer.proxy_every=null",
    "trainer.checkpoint_minutes=null",
    "trainer.checkpoint_every=1",
    "model.device=cpu",
    "model.dtype=float32",
]


class Listed:
    """A data set in a list."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)

    def length(self) -> int:
        return len(self.samples)


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make, once for each name of a tiny model, what :func:`make_world` makes."""
    return cache(lambda name: make_world(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def world(world_of: Callable[[str], Path]) -> Path:
    return world_of("animatediff")


def make_world(name: str, folder: Path) -> Path:
    """Write a tiny teacher, a cache of clips and a cache of images, and return the folder."""
    import av

    from mcm.backbones.loading import load_backbone

    make = make_tiny_animatediff if name == "animatediff" else partial(make_tiny, name)
    teacher = load_backbone(make(folder / "teacher"), "cpu", "float32")
    draw = np.random.default_rng(0)
    clips, images = [], []
    for number in range(10):
        path = folder / f"{number}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=8)
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv444p"
            for pixels in draw.integers(0, 255, (9, 32, 32, 3), dtype=np.uint8):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        clips.append(Sample(str(number), PROMPTS[number % 2], path, path.name))
        still = folder / f"{number}.png"
        Image.fromarray(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(still)
        images.append(Sample(str(number), PROMPTS[number % 2], still, still.name))
    cache_videos(Listed(clips), teacher, folder / "videos", progress=False)
    cache_images(Listed(images), teacher, folder / "images", latents=True, progress=False)
    return folder


def overrides(world: Path, output: Path, steps: int, *more: str) -> list[str]:
    places = [
        f"model.teacher={world / 'teacher'}",
        f"data.videos={world / 'videos'}",
        f"trainer.output={output}",
        f"trainer.steps={steps}",
    ]
    return [*SMALL, *places, *more]


def digest(student: Path) -> str:
    file = student / "pytorch_lora_weights.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs(world_of, tmp_path: Path, recipe: Path, capsys) -> None:
    family = resolve(recipe).model.family
    world = world_of(TEACHERS.get(recipe.stem, "animatediff" if family == "auto" else family))
    resolved = resolve(recipe, overrides(world, tmp_path / "out", 2))
    if resolved.data.images is not None:
        images = f"data.images={world / 'images'}"
        resolved = resolve(recipe, overrides(world, tmp_path / "out", 2, images))
    student = distill(resolved)
    assert student == tmp_path / "out" / "student"
    assert str(student) in capsys.readouterr().err
    made = {path.relative_to(tmp_path / "out").as_posix() for path in student.parent.rglob("*")}
    assert {
        "recipe.yaml",
        "log.csv",
        "student/mcm.json",
        "student/pytorch_lora_weights.safetensors",
        "checkpoints/step-00000002/weights.safetensors",
    } <= made
    learns = resolved.motion.representation == "learn"
    assert ("auxiliary/head.safetensors" in made) == learns
    assert ("auxiliary/critic.safetensors" in made) == (resolved.critic.weight > 0)
    assert resolve(tmp_path / "out" / "recipe.yaml") == resolved


def test_validation_and_tensorboard_of_a_run(world: Path, tmp_path: Path) -> None:
    more = (
        "trainer.validation.prompts=[a star going up]",
        "trainer.validation.steps=[1, 2]",
        "trainer.validation.teacher_steps=2",
        "trainer.tracker=tensorboard",
    )
    distill(resolve(ROOT / "recipes/fluent-smoke.yaml", overrides(world, tmp_path, 1, *more)))
    assert (tmp_path / "validation" / "step-00000001.png").is_file()
    assert list(tmp_path.rglob("events*"))


def test_the_proxy_keeps_the_best_student(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcm.distillation import watchers

    judges = save_features(tmp_path / "judges")
    monkeypatch.setattr(watchers, "REAL", 3)
    more = (
        "trainer.proxy_every=1",
        "trainer.proxy_clips=2",
        f"trainer.proxy_judges={judges}",
        f"data.images={world / 'images'}",
    )
    distill(resolve(ROOT / "recipes/fluent-smoke.yaml", overrides(world, tmp_path, 2, *more)))
    facts = json.loads((tmp_path / "best" / "proxy.json").read_text())
    assert facts["step"] in (1, 2)
    assert set(facts) == {"step", "fvd", "fid", "shift", "motion", "score", "yardstick"}
    assert (tmp_path / "best" / "pytorch_lora_weights.safetensors").is_file()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_the_student_loads_and_generates(world: Path, tmp_path: Path, mode: str) -> None:
    from mcm.sampling.loading import load

    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    more = ("optimizer.lr=0.1", f"student.mode={mode}")
    student = distill(resolve(smoke, overrides(world, tmp_path, 1, *more)))
    models = [load(place, "cpu", "float32") for place in (student, world / "teacher")]
    clips = [m.generate("a star going up", 1, seed=1, guidance=1.0) for m in models]
    assert clips[0].settings["sampler"] == "consistency"
    assert not np.array_equal(clips[0].frames, clips[1].frames)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("modelscope", "lora"),
        ("wan-2.2", "lora"),
        ("wan-2.2", "full"),
        ("fluent-dit", "lora"),
        ("cogvideox", "lora"),
        ("ltx", "full"),
    ],
)
def test_students_of_every_family_generate(world_of, tmp_path: Path, name: str, mode: str) -> None:
    from mcm.sampling.loading import load

    smoke, world = ROOT / "recipes" / "fluent-smoke.yaml", world_of(name)
    more = (
        "optimizer.lr=0.01",
        "trainer.validation.prompts=[a star going up]",
        "trainer.validation.steps=[1]",
        "trainer.validation.teacher_steps=2",
        f"student.mode={mode}",
    )
    student = distill(resolve(smoke, overrides(world, tmp_path, 1, *more)))
    assert (tmp_path / "validation" / "step-00000001.png").is_file()
    models = [load(place, "cpu", "float32") for place in (student, world / "teacher")]
    clips = [m.generate("a star going up", 2, seed=1, guidance=1.0) for m in models]
    spec = models[0].backbone.spec
    assert clips[0].frames.shape == (spec.frames, spec.height, spec.width, 3)
    assert not np.array_equal(clips[0].frames, clips[1].frames)


def test_a_teacher_of_another_family_is_refused(world: Path, tmp_path: Path) -> None:
    recipe = ROOT / "recipes" / "wan-1.3b.yaml"
    with pytest.raises(UserError, match=r"model.family: got wan, but .* is of family animatediff"):
        distill(resolve(recipe, overrides(world, tmp_path, 1)))


def test_a_student_is_continued(world: Path, tmp_path: Path) -> None:
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    first = distill(resolve(smoke, overrides(world, tmp_path / "a", 1)))
    more = (f"student.init={first}", "optimizer.lr=1e-30")
    second = distill(resolve(smoke, overrides(world, tmp_path / "b", 1, *more)))
    assert digest(first) == digest(second)
    with pytest.raises(UserError, match=r"student.rank: got 4, .* has 2; set student.rank=2"):
        distill(resolve(smoke, overrides(world, tmp_path / "c", 1, *more, "student.rank=4")))


def test_a_student_begins_as_a_sum_for_a_teacher_that_wears_looks(
    world: Path, tmp_path: Path
) -> None:
    """The teacher's own step is the dressed one, and the checkpoint knows the dress."""
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    first = distill(resolve(smoke, overrides(world, tmp_path / "first", 1)))
    more = (f"student.init=[{first},{first}]", f"model.adapter={first}", "optimizer.lr=1e-30")
    recipe = resolve(smoke, overrides(world, tmp_path / "second", 1, *more, "student.rank=4"))
    backbone, known = prepare_backbone(recipe, torch.device("cpu"))
    assert known["adapter"] == hashlib.sha256((first / LORA_FILE).read_bytes()).hexdigest()
    once, twice = (load_file(folder / LORA_FILE) for folder in (first, distill(recipe)))
    for key, value in once.items():
        side = 0 if "lora_A" in key else 1
        assert torch.equal(twice[key], torch.cat([value, value], side)), key
    worn = backbone.adapter_parameters("worn")
    with backbone.using(None):
        layer = backbone.network.get_submodule(next(iter(worn)).partition(".lora_")[0])
        assert layer.active_adapters == ["worn"]
    with pytest.raises(UserError, match=r"model\.adapter: got adapters"):
        whole = overrides(world, tmp_path / "full", 1, more[1], "student.mode=full")
        prepare_backbone(resolve(smoke, whole), torch.device("cpu"))


def test_the_written_student_is_between_its_start_and_its_end(world: Path, tmp_path: Path) -> None:
    """The mean of both, in a run that was broken off and resumed."""
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    start = distill(resolve(smoke, overrides(world, tmp_path / "start", 1)))
    begin = (f"student.init={start}", "optimizer.lr=0.01", "optimizer.schedule=constant")
    end = distill(resolve(smoke, overrides(world, tmp_path / "end", 2, *begin)))
    half = overrides(world, tmp_path / "half", 2, *begin, "student.interpolate=0.5")
    distill(resolve(smoke, [*half, "trainer.steps=1"]))
    mean = distill(resolve(smoke, [*half, "trainer.resume=latest"]))
    first, last, between = (load_file(folder / LORA_FILE) for folder in (start, end, mean))
    assert max(float((last[key] - first[key]).abs().max()) for key in first) > 1e-3
    for key, value in between.items():
        middle = (first[key].float() + last[key].float()) / 2
        torch.testing.assert_close(value.float(), middle, atol=2e-4, rtol=2e-3)


def test_a_run_is_not_overwritten(world: Path, tmp_path: Path) -> None:
    recipe = resolve(ROOT / "recipes/fluent-smoke.yaml", overrides(world, tmp_path, 1))
    distill(recipe)
    with pytest.raises(UserError, match="holds a run already"):
        distill(recipe)


def test_a_checkpoint_of_another_run_does_not_overwrite_one(world: Path, tmp_path: Path) -> None:
    smoke = ROOT / "recipes/fluent-smoke.yaml"
    for name in ("one", "other"):
        distill(resolve(smoke, overrides(world, tmp_path / name, 1)))
    student = digest(tmp_path / "other" / "student")
    more = f"trainer.resume={tmp_path / 'one' / 'checkpoints' / 'step-00000001'}"
    with pytest.raises(UserError, match=r"holds a run already, and .* is a checkpoint of another"):
        distill(resolve(smoke, overrides(world, tmp_path / "other", 2, more)))
    assert digest(tmp_path / "other" / "student") == student
    distill(resolve(smoke, overrides(world, tmp_path / "third", 2, more)))


def test_one_process_at_a_time_trains_into_a_folder(world: Path, tmp_path: Path) -> None:
    recipe = resolve(ROOT / "recipes/fluent-smoke.yaml", overrides(world, tmp_path / "out", 1))
    with claimed(tmp_path / "out"), pytest.raises(UserError, match="another process trains"):
        distill(recipe)
    assert not (tmp_path / "out" / "recipe.yaml").exists()
    distill(recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.frames=5", r"data.frames: got 5, but .*videos was made with 4; remove the field"),
        ("data.size=[16, 16]", r"data.size: got \(16, 16\), but .* made with \(32, 32\)"),
        ("data.fps=3", r"data.fps: got 3.0, but .* made with 8.0; .* `mcm data cache --fps`"),
        ("critic.frames_per_clip=5", r"critic.frames_per_clip: got 5, but .* have 4 frames"),
    ],
)
def test_what_does_not_fit_the_clips_is_refused(
    world: Path, tmp_path: Path, override: str, message: str
) -> None:
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    more = (override, "critic.weight=1")
    with pytest.raises(UserError, match=message):
        distill(resolve(smoke, overrides(world, tmp_path / "out", 1, *more)))
    assert not (tmp_path / "out").exists()


def test_images_of_another_teacher_are_refused(world: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(world / "images", images)
    index = json.loads((images / "index.json").read_text())
    index["backbone"]["encoders"]["text_encoder"] = "another"
    (images / "index.json").write_text(json.dumps(index))
    more = (f"data.images={images}", "critic.weight=1")
    with pytest.raises(UserError, match=r"images: the cache was made with another backbone"):
        recipe = ROOT / "recipes" / "fluent-smoke.yaml"
        distill(resolve(recipe, overrides(world, tmp_path / "out", 1, *more)))


def test_the_start_of_an_interpolated_student_may_not_change(world: Path, tmp_path: Path) -> None:
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    half = overrides(world, tmp_path / "half", 2, "student.interpolate=0.5")
    distill(resolve(smoke, [*half, "trainer.steps=1"]))
    with pytest.raises(UserError, match=r"trainer.seed is 0 there and 5 in the recipe"):
        distill(resolve(smoke, [*half, "trainer.resume=latest", "trainer.seed=5"]))


def test_another_teacher_is_refused(world: Path, tmp_path: Path) -> None:
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    distill(resolve(smoke, overrides(world, tmp_path / "out", 1)))
    other = make_tiny_animatediff(tmp_path / "other", prediction="epsilon")
    weights = tmp_path / "other" / "unet" / "diffusion_pytorch_model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({name: value + 0.1 for name, value in load_file(weights).items()}, weights)
    more = (f"model.teacher={other}", "trainer.resume=latest")
    with pytest.raises(UserError, match=r"another backbone .*differing: network"):
        distill(resolve(smoke, overrides(world, tmp_path / "out", 2, *more)))


def command(world: Path, output: Path, steps: int, *more: str) -> list[str]:
    recipe = str(ROOT / "recipes" / "fluent-smoke.yaml")
    code = "from mcm.cli import main; main()"
    return ["-c", code, "distill", recipe, *overrides(world, output, steps, *more)]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = os.environ | threads | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )


def wait_for_checkpoint(process: subprocess.Popen[str], output: Path) -> None:
    while not checkpoints.present(output / checkpoints.FOLDER):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)


@pytest.mark.timeout(900)
def test_killed_and_resumed_the_student_is_bit_identical(world: Path, tmp_path: Path) -> None:
    smoke = ROOT / "recipes" / "fluent-smoke.yaml"
    killed = start(command(world, tmp_path / "killed", 20))
    wait_for_checkpoint(killed, tmp_path / "killed")
    time.sleep(float(np.random.default_rng().uniform(0, 0.3)))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "student").exists()
    more = overrides(world, tmp_path / "killed", 20, "trainer.resume=latest")
    resumed = distill(resolve(smoke, more))
    whole = distill(resolve(smoke, overrides(world, tmp_path / "whole", 20)))
    assert digest(resumed) == digest(whole)


def test_two_experts_resume_to_the_same_student(world_of, tmp_path: Path) -> None:
    smoke, world = ROOT / "recipes" / "fluent-smoke.yaml", world_of("wan-2.2")
    distill(resolve(smoke, overrides(world, tmp_path / "a", 2)))
    resumed = distill(resolve(smoke, overrides(world, tmp_path / "a", 4, "trainer.resume=latest")))
    whole = distill(resolve(smoke, overrides(world, tmp_path / "b", 4)))
    for name in ("pytorch_lora_weights.safetensors", "pytorch_lora_weights_2.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.timeout(900)
def test_sigterm_saves_and_exits_130(world: Path, tmp_path: Path) -> None:
    process = start(command(world, tmp_path, 10_000))
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "--resume latest" in errors
    assert not (tmp_path / "student").exists()


@pytest.mark.timeout(900)
def test_two_processes_hold_the_same_weights(tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_processes.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    process = start([*launch, str(script), str(tmp_path)])
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    first, second = ((tmp_path / f"rank{n}.txt").read_text().splitlines() for n in range(2))
    assert first[0] == second[0] == "2"
    assert first[1] == second[1]
    assert first[2] != second[2]
    assert len(checkpoints.present(tmp_path / "out" / checkpoints.FOLDER)) == 1
