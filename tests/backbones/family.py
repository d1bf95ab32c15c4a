"""What the tests of every family share: their folders, inputs and few-step sampling."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.backbones.tiny_families import FAMILIES, load_tiny, make_tiny
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.backbones.pipeline import PipelineBackbone
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import Plan, find_sampler

GUIDANCE = 3.0
every_family = pytest.mark.parametrize("family", FAMILIES)
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
    if spec.family == "wan":
        call["max_sequence_length"] = spec.max_tokens
    return pipeline(PROMPTS[0], **(call | options)).frames


def predict(backbone: PipelineBackbone, name: str | None = None, seed: int = 1) -> Tensor:
    """Return what an adapter, or the teacher, predicts in its own terms."""
    x, t, condition = inputs(backbone, seed)
    with backbone.using(name):
        return backbone.predict(x, t, condition, backbone.spec.prediction)


def with_student(family: str) -> PipelineBackbone:
    """Return a model with an adapter that changes it."""
    backbone = load_tiny(folder_of(family))
    backbone.add_adapter("student", rank=2, alpha=3.0)
    with torch.no_grad():
        for parameter in backbone.adapter_parameters("student").values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return backbone
