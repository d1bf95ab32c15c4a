"""Few-step sampling at full size: our pipeline beside stock diffusers, same weights, same noise.

    python benchmarks/sampling.py animatediff
    python benchmarks/sampling.py modelscope --steps 4
    python benchmarks/sampling.py path/of/a/teacher

The first two take random weights of the published configurations (16 × 512 × 512 and
16 × 256 × 256): nothing is downloaded. Each side is a process of its own; its seconds, its peak of
memory and the largest difference of the frames are printed. Text states are random as well, the
same for both.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from memory import MODELS, write_configuration
from torch import Tensor

from mcm.backbones.config_folder import ConfigFolder
from mcm.backbones.loading import load_folder, open_folder
from mcm.backbones.pipeline import PipelineBackbone
from mcm.devices import DTYPES
from mcm.doctor.doctor import GIB
from mcm.doctor.sketch import make_condition
from mcm.doctor.timing import clock
from mcm.export.scheduler import few_step_scheduler
from mcm.sampling.catalog import StudentCard
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import Plan, consistency

CARD = StudentCard("none", original_steps=20, timestep_scaling=4.0)
SIDES = ("ours", "stock")


class FramesFirst(Noise):
    """Noise drawn frames before channels after its first draw, as ModelScopeT2V's pipeline does."""

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Return noise (1, c, t, h, w)."""
        if not self.__dict__.setdefault("begun", False):
            self.__dict__["begun"] = True
            return super().draw(shape)
        c, t, h, w = shape
        return super().draw((t, c, h, w)).transpose(1, 2)


def load(folder: Path, dtype: str, random: bool) -> PipelineBackbone:
    """Load a teacher on the CPU, or make one of its configurations alone."""
    found = open_folder(folder, "cpu", dtype)
    torch.manual_seed(0)
    if random:
        found = ConfigFolder(found.path, found.index, found.device, found.dtype)
    return load_folder(found)


def sample_ours(backbone: PipelineBackbone, steps: int) -> np.ndarray:
    """Return frames in [0, 1], (t, h, w, 3), of our few-step sampler."""
    kind = FramesFirst if backbone.spec.family == "modelscope" else Noise
    plan = Plan(backbone.spec.latent_shape(), steps, CARD.original_steps, CARD.timestep_scaling)
    denoiser = Denoiser(backbone, make_condition(backbone, 1))
    latents = consistency(denoiser, kind.from_seeds([0]), plan)
    pixels = backbone.decode_frames(latents)[0]
    return (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def sample_stock(backbone: PipelineBackbone, steps: int) -> np.ndarray:
    """Return the same of the stock pipeline, with its own attention and scheduler."""
    for module in backbone.network.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor2_0())
    spec, states = backbone.spec, make_condition(backbone, 1).tokens_bld
    pipeline: Any = backbone.to_pipeline()
    pipeline.scheduler = few_step_scheduler(backbone, CARD)
    made = pipeline(
        prompt_embeds=states.to(backbone.dtype),
        num_frames=spec.frames,
        height=spec.height,
        width=spec.width,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    frames: np.ndarray = made.frames[0]
    return frames


@torch.inference_mode()
def run_side(options: argparse.Namespace) -> None:
    """Sample on one side; leave its frames in a file and print what it took."""
    backbone = load(Path(options.model), options.dtype, options.random)
    torch.manual_seed(1)  # the text states
    sample, now = {"ours": sample_ours, "stock": sample_stock}[options.side], clock()
    start = now()
    frames = sample(backbone, options.steps)
    seconds = now() - start
    np.save(options.frames, frames)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=f"{' or '.join(MODELS)}, or the folder of a teacher")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    for hidden in ("--side", "--frames"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--random", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    """Run both sides and compare."""
    with tempfile.TemporaryDirectory() as place:
        model, random = Path(options.model), options.model in MODELS
        if random:
            model = write_configuration(options.model, Path(place) / options.model)
        command = [sys.executable, __file__, str(model), "--dtype", options.dtype]
        command += ["--steps", str(options.steps), *(["--random"] if random else [])]
        frames = {}
        for side in SIDES:
            file = Path(place) / f"{side}.npy"
            more = ["--side", side, "--frames", str(file)]
            done = subprocess.run([*command, *more], stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"{side:6} {found['seconds']:8.1f} s  {found['peak'] / GIB:6.2f} GiB", flush=True)
            frames[side] = np.load(file)
        print(f"largest difference {np.abs(frames['ours'] - frames['stock']).max():.2g} of [0, 1]")


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    run_side(parsed) if parsed.side else main(parsed)
