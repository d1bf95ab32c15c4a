"""What the tests of every family share: their folders, inputs and few-step sampling."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from tests.backbones.tiny_families import make_tiny
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.backbones.pipeline import PipelineBackbone
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import Plan, find_sampler

GUIDANCE = 3.0
PROMPTS = ["a fox moving left on a blue background", "a star going up"]


@functools.cache
def folder_of(family: str) -> Path:
    """Return the folder of a tiny model, made once a run."""
    place = tempfile.TemporaryDirectory(prefix=f"{family}-")
    _kept.append(place)
    return make_tiny(family, Path(place.name))


_kept: list[Any] = []


def inputs(backbone: PipelineBackbone, seed: int = 1) -> tuple[Tensor, Tensor, Condition]:
    """Return two noisy latents, their timesteps and the states of two prompts."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *backbone.spec.latent_shape(), generator=generator)
    return x, torch.tensor([999, 321]), backbone.encode_prompt(PROMPTS)


@torch.no_grad()
def sample(backbone: PipelineBackbone, sampler: str, steps: int) -> Tensor:
    """Return guided latents of the first prompt, from the noise of :func:`noise`."""
    denoiser = Denoiser(
        backbone, backbone.encode_prompt(PROMPTS[:1]), backbone.encode_prompt([""]), GUIDANCE
    )
    plan = Plan(backbone.spec.latent_shape(), steps)
    return find_sampler(sampler)(denoiser, Noise.from_seeds([7]), plan)


def noise(backbone: PipelineBackbone) -> Tensor:
    """Return the noise that :func:`sample` starts from."""
    return Noise.from_seeds([7]).draw(backbone.spec.latent_shape())


@torch.no_grad()
def stock_sample(pipeline: Any, backbone: PipelineBackbone, steps: int, **options: Any) -> Tensor:
    """Return what a stock pipeline makes of the same prompt, ``latent`` unless asked otherwise."""
    pipeline.set_progress_bar_config(disable=True)
    spec = backbone.spec
    call = {
        "height": spec.height,
        "width": spec.width,
        "num_frames": spec.frames,
        "num_inference_steps": steps,
        "guidance_scale": GUIDANCE,
        "latents": noise(backbone),
        "output_type": "latent",
    }
    return pipeline(PROMPTS[0], **(call | options)).frames
