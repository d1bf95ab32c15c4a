"""Peak memory and time of a training step at full size, predicted and then measured.

    python benchmarks/memory.py modelscope
    python benchmarks/memory.py animatediff
    python benchmarks/memory.py recipes/mine.yaml trainer.batch_size=1

The first two take random weights of the real configuration: nothing is downloaded. `--predict`
leaves the measurement out, `--no-time` the seconds of the prediction. The measurement is a process
of its own, whose peak is what counts.

It ends with code 1 and says why if the peak of one of the first two is above its limit, or if a
prediction is more than 15 % off what is measured.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from mcm.backbones.config_folder import ConfigFolder
from mcm.doctor.doctor import GIB, forecast
from mcm.doctor.sketch import make_batch, make_objective, open_teacher
from mcm.doctor.step import update
from mcm.doctor.timing import BUDGET, clock
from mcm.recipe import resolve
from mcm.settings import Recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
VAE = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}


def text(width: int, layers: int, heads: int) -> dict[str, Any]:
    """Return the configuration of a CLIP text tower."""
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width, "projection_dim": width}


MODELS: dict[str, dict[str, dict[str, Any]]] = {
    "modelscope": {
        "": {
            "_class_name": "TextToVideoSDPipeline",
            "unet": ["diffusers", "UNet3DConditionModel"],
        },
        "unet": {"sample_size": 32},
        "vae": VAE,
        "text_encoder": text(1024, 23, 16),
    },
    "animatediff": {
        "": {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
        },
        "unet": {"sample_size": 64, "cross_attention_dim": 768},
        "motion_adapter": {},
        "vae": VAE,
        "text_encoder": text(768, 12, 12),
    },
}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
MOST_GIB = {"animatediff": 20.0, "modelscope": 12.0}
"""Largest peak of a step at full size, by the name of the model."""
MOST_ERROR = 0.15
"""Largest part by which a prediction may be off."""
FULL_SIZE = [
    "model.device=cpu",
    "model.dtype=auto",
    "trainer.batch_size=1",
    "trainer.gradient_accumulation=1",
    "trainer.gradient_checkpointing=true",
    "trainer.mixed_precision=auto",
    "trajectories.real_fraction=0.0",
]


def write_configuration(name: str, folder: Path) -> Path:
    """Write the configurations of a published model, without weights."""
    for component, values in MODELS[name].items():
        place = folder / component
        place.mkdir(parents=True, exist_ok=True)
        file = "config.json" if component else "model_index.json"
        shared = {
            "vae": ["diffusers", "AutoencoderKL"],
            "text_encoder": ["transformers", "CLIPTextModel"],
        }
        (place / file).write_text(json.dumps(values if component else {**values, **shared}))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    return folder


def fill_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimiser its moments, as it has them from the second step on."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def measure(recipe: Recipe) -> dict[str, float]:
    """Make a step with random weights, as it is amid a run; return its peak and its seconds."""
    from mcm.backbones.loading import load_folder
    from mcm.devices import return_freed_memory
    from mcm.distillation.begin import add_variants
    from mcm.distillation.learner import Learner

    if recipe.trainer.gradient_checkpointing:
        return_freed_memory()
    found = open_teacher(recipe)
    folder = ConfigFolder(found.path, found.index, found.device, found.dtype)
    torch.manual_seed(0)
    backbone = load_folder(folder, recipe.student.mode)
    add_variants(backbone, recipe)
    batch = make_batch(backbone, recipe)
    objective = make_objective(backbone, recipe)
    backbone.free_encoders()
    learner, generator = Learner.of(objective, recipe), torch.Generator().manual_seed(0)
    fill_moments(learner.optimizer)
    now = clock()
    start, wall = now(), time.perf_counter()
    update(objective, learner, batch, recipe, generator)
    seconds, passed = now() - start, time.perf_counter() - wall
    print(f"step: {seconds:.1f} s ({passed:.1f} s by the wall)", file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "seconds": seconds}


def failures(
    name: str, peak: float, memory: float | None = None, time: float | None = None
) -> list[str]:
    """Return what is not as it should be, a sentence each.

    Args:
        name: A model of `MODELS`, or a recipe, which has no limit.
        peak: Bytes of the step, measured or else predicted.
        memory: Predicted memory over the measured.
        time: Predicted seconds over the measured.
    """
    limit = MOST_GIB.get(name, float("inf"))
    found = []
    if peak > limit * GIB:
        found.append(f"memory: {peak / GIB:.2f} GiB is above the limit of {limit:g} GiB")
    for field, ratio in (("memory", memory), ("time", time)):
        if ratio is not None and abs(ratio - 1) > MOST_ERROR:
            found.append(
                f"{field}: the prediction is {ratio:.2f} of what was measured, expected "
                f"{1 - MOST_ERROR:.2f} to {1 + MOST_ERROR:.2f}"
            )
    return found


def fail(found: list[str]) -> None:
    """Say what is wrong and end with code 1, if anything is."""
    for text in found:
        print(f"failed: {text}", file=sys.stderr)
    if found:
        raise SystemExit(1)


def main(arguments: list[str]) -> None:
    """Predict, measure in a fresh process, print both, and fail where a limit is passed.

    Raises:
        SystemExit: Code 1, when a limit is passed.
    """
    options = [word for word in arguments if word.startswith("--")]
    name, *overrides = [word for word in arguments if not word.startswith("--")]
    with tempfile.TemporaryDirectory() as place:
        path, changes = Path(name), overrides
        if name in MODELS:
            path = RECIPES / f"{name}-distill.yaml"
            teacher = write_configuration(name, Path(place) / name)
            changes = [f"model.teacher={teacher}", *FULL_SIZE, *overrides]
        recipe = resolve(path, changes)
        if "--measure" in options:
            print(json.dumps(measure(recipe)))
            return
        found = forecast(recipe, budget=None if "--no-time" in options else BUDGET)
        print("predicted:", *found.lines(psutil.virtual_memory().available), sep="\n", flush=True)
        if "--predict" in options:
            fail(failures(name, found.memory))
            return
        command = [sys.executable, __file__, "--measure", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        real = json.loads(done.stdout.splitlines()[-1])
        print(f"measured: {real['peak'] / GIB:.2f} GiB, {real['seconds']:.1f} s a step")
        memory = found.memory / real["peak"]
        seconds = None if found.seconds is None else found.seconds / real["seconds"]
        print(f"predicted / measured: memory {memory:.2f}")
        if seconds is not None:
            print(f"predicted / measured: time {seconds:.2f}")
        fail(failures(name, real["peak"], memory, seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
