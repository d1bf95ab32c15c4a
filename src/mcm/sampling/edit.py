"""Editing of an existing video: noise it to a level, then few steps to the new prompt.

Meng et al., *SDEdit*, 2021 (arXiv 2108.01073), with a consistency student; a mask keeps what is
outside of it (Lugmayr et al., *RePaint*, 2022, arXiv 2201.09865, in each x̂0).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from mcm.checks import check_number, check_only
from mcm.diffusion import Schedule, few_step_timesteps
from mcm.errors import UserError
from mcm.safety import guard
from mcm.sampling.clip import Clip
from mcm.sampling.denoiser import Noise
from mcm.sampling.options import ModelWarning, Settings, check_prompt, check_seed, resolve
from mcm.sampling.pixels import to_video
from mcm.sampling.samplers import OnStep, consistency_from

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel

Frames = NDArray[np.uint8]
OPTIONS = ("steps", "stochasticity", "guidance", "negative_prompt")
"""What an edit takes of a generation's options."""
_FEATHER = 2.0
"""Pixels over which an edited region fades into what is kept."""


def edit(
    model: VideoModel,
    frames_thwc: Frames,
    prompt: str,
    strength: float,
    mask_hw: NDArray[np.bool_] | None,
    seed: int,
    on_step: OnStep | None,
    options: dict[str, Any],
) -> Clip:
    """Do the work of :meth:`mcm.sampling.pipeline.VideoModel.edit`; arguments as there."""
    check_only(options, OPTIONS, "an edit")
    _check_frames(frames_thwc)
    count, height, width, _ = frames_thwc.shape
    settings = resolve(
        model.defaults, model.backbone.spec, frames=count, size=(height, width), **options
    )
    if mask_hw is not None:
        _check_mask(mask_hw, (height, width))
    timesteps_n = timesteps(model, settings, strength)
    settings = replace(settings, steps=len(timesteps_n))
    seed = check_seed(seed)
    guard.check_prompt(prompt := check_prompt(prompt))
    timings, noise = dict[str, float](), Noise.from_seeds([seed])
    with torch.inference_mode(), model.backbone.using(model.adapter):
        with model.timed(timings, "encode"):
            source = model.backbone.encode_video(to_video(frames_thwc))
        with model.timed(timings, "text"):
            denoise = model.denoiser([prompt], settings)
        with model.timed(timings, "network"):
            plan = model.plan(settings, on_step)
            start = noise.draw(plan.shape).to(plan.device)
            x = denoise.schedule.add_noise(source, start, timesteps_n[0].to(plan.device))
            keep = _keeper(source, mask_hw)
            latents = consistency_from(denoise, noise, plan, x, timesteps_n, keep)
        with model.timed(timings, "decode"):
            made = model.decode(latents)[:count]
    result = made if mask_hw is None else composite(frames_thwc, made, mask_hw)
    guard.check_clip(result, prompt)
    described = {**model.identity, **settings.as_dict(), "strength": strength}
    return Clip(result, model.backbone.spec.fps, prompt, seed, described, timings)


def timesteps(model: VideoModel, settings: Settings, strength: float) -> Tensor:
    """Return the timesteps of an edit, falling, the first that of the level it begins at.

    Raises:
        UserError: The model is no student, or strength is not above 0 and up to 1.
    """
    if model.defaults.sampler != "consistency":
        raise UserError(f"model: {model.name} is a teacher; editing in few steps needs a student")
    if not 0 < check_number(strength, "strength") <= 1:
        raise UserError(f"strength: got {strength}, expected above 0 (little) to 1 (everything)")
    return partial_timesteps(
        settings.steps, model.defaults.original_steps, model.backbone.schedule, strength
    )


def partial_timesteps(
    steps: int, original_steps: int, schedule: Schedule, strength: float
) -> Tensor:
    """Return the timesteps of `few_step_timesteps`, fewer where a strength leaves fewer.

    At least one is left, the least noisy.
    """
    least = 1 / original_steps
    usable = max(1, int(original_steps * strength + 1e-9))
    if steps <= original_steps:
        steps = min(steps, usable)
    return few_step_timesteps(steps, original_steps, schedule, max(strength, least))


def composite(kept_thwc: Frames, made_thwc: Frames, mask_hw: NDArray[np.bool_]) -> Frames:
    """Return what was made inside the mask, and what there was outside, with a soft edge inside."""
    depth_hw = ndimage.distance_transform_edt(mask_hw)
    share = np.clip(depth_hw / _FEATHER, 0, 1)[None, :, :, None]
    mixed: Frames = (share * made_thwc + (1 - share) * kept_thwc).round().astype(np.uint8)
    return mixed


def _keeper(source_bcthw: Tensor, mask_hw: NDArray[np.bool_] | None) -> Any:
    """Return what puts the source's latents back outside the mask."""
    if mask_hw is None:
        return lambda x0: x0
    mask = torch.from_numpy(mask_hw).float()[None, None]
    share = F.adaptive_max_pool2d(mask, source_bcthw.shape[-2:])[:, :, None]
    share = share.to(source_bcthw.device)
    return lambda x0: share * x0 + (1 - share) * source_bcthw


def _check_frames(frames: object) -> None:
    got = _described(frames)
    if not isinstance(frames, np.ndarray) or frames.ndim != 4 or frames.shape[3] != 3:
        raise UserError(f"video: got {got}, expected an array of RGB frames, (t, h, w, 3)")
    if frames.dtype != np.uint8:
        raise UserError(f"video: got {got}, expected uint8, 0 (dark) to 255 (bright)")


def _check_mask(mask: object, size: tuple[int, int]) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise UserError(
            f"mask: got {_described(mask)}, expected an array of bool, true where the video may "
            "change; compare yours with its middle, as mask >= 128"
        )
    if mask.shape != size:
        raise UserError(f"mask: has the shape {mask.shape}, expected (height, width) = {size}")
    if not mask.any():
        raise UserError("mask: is black everywhere, so that nothing may change; paint it white")
    if mask.all():
        told = (
            "mask: is white everywhere, so that it keeps nothing; leave it out, or paint it black"
        )
        warnings.warn(told, ModelWarning, stacklevel=4)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of the shape {value.shape}"
    return type(value).__name__
