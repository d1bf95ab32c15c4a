"""A clip that goes on for ever, window after window.

Each window begins with the last frames of the one before, which every step puts back, as
inpainting does (Lugmayr et al., *RePaint*, 2022, arXiv 2201.09865), along time.

A first step sees noise only, so that the look of a window is in its noise. A window therefore
starts with the noise of the one before, the common frames in their place and the others shuffled:
Qiu et al., *FreeNoise*, 2023 (arXiv 2310.15169).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mcm.checks import check_only, check_whole
from mcm.diffusion import few_step_timesteps
from mcm.errors import UserError
from mcm.safety import guard
from mcm.sampling.clip import Clip
from mcm.sampling.denoiser import Noise
from mcm.sampling.options import Settings, check_prompt, check_seed, resolve
from mcm.sampling.samplers import consistency_from

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel


OPTIONS = ("steps", "size", "stochasticity")
"""What a stream takes of a generation's options."""


def stream(
    model: VideoModel, prompt: str, seed: int, overlap: int | None, options: dict[str, Any]
) -> Iterator[Clip]:
    """Do the work of :meth:`mcm.sampling.pipeline.VideoModel.stream`; arguments as there."""
    check_only(options, OPTIONS, "a stream")
    spec = model.backbone.spec
    overlap = max(1, spec.frames // 4) if overlap is None else overlap
    if model.defaults.sampler != "consistency":
        raise UserError(f"model: {model.name} is a teacher; a stream in few steps needs a student")
    if spec.temporal_factor > 1:
        raise UserError(
            "model: its autoencoder decodes each frame from those before it, so that windows "
            "cannot follow each other; use a model of single frames (AnimateDiff, ModelScope)"
        )
    if not 1 <= check_whole(overlap, "overlap") < spec.frames:
        raise UserError(f"overlap: got {overlap}, expected 1 to {spec.frames - 1} frames")
    settings = resolve(model.defaults, spec, frames=spec.frames, **options)
    if settings.steps < 2:
        raise UserError("steps: got 1, but a first step sees noise only; a stream needs 2 or more")
    guard.check_prompt(prompt := check_prompt(prompt))
    return _windows(model, prompt, check_seed(seed), overlap, settings)


def _windows(
    model: VideoModel, prompt: str, seed: int, overlap: int, settings: Settings
) -> Iterator[Clip]:
    noise, plan = Noise.from_seeds([seed]), model.plan(settings, None)
    timesteps_n = few_step_timesteps(
        plan.steps, plan.original_steps, model.backbone.schedule, strength=1.0
    )
    start, known = noise.draw(plan.shape), torch.empty(0)
    described = {**model.identity, **settings.as_dict(), "overlap": overlap}
    with torch.inference_mode(), model.backbone.using(model.adapter):
        denoise = model.denoiser([prompt], settings)
    for number in itertools.count():
        timings: dict[str, float] = {}
        with torch.inference_mode(), model.backbone.using(model.adapter):
            with model.timed(timings, "network"):
                pinned = _pinned(known) if number else _free
                latents = consistency_from(denoise, noise, plan, start, timesteps_n, pinned)
            with model.timed(timings, "decode"):
                frames = model.decode(latents[:, :, overlap if number else 0 :])
        guard.check_clip(frames, prompt)
        window = {**described, "window": number}
        yield Clip(frames, model.backbone.spec.fps, prompt, seed, window, timings)
        known, start = latents[:, :, -overlap:], carried(start, overlap, noise)


def carried(start_bcthw: Tensor, overlap: int, noise: Noise) -> Tensor:
    """Return the noise of the next window: the common frames first, then the others, shuffled."""
    others = start_bcthw[:, :, :-overlap]
    order_t = torch.randperm(others.shape[2], generator=noise.generators[0])
    return torch.cat([start_bcthw[:, :, -overlap:], others[:, :, order_t]], dim=2)


def _pinned(known_bcthw: Tensor) -> Any:
    """Return what puts known frames back at the start of a window."""

    def put_back(x0_bcthw: Tensor) -> Tensor:
        return torch.cat([known_bcthw, x0_bcthw[:, :, known_bcthw.shape[2] :]], dim=2)

    return put_back


def _free(x0_bcthw: Tensor) -> Tensor:
    return x0_bcthw
