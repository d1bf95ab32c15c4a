"""Generation of clips together: one run of the network for all of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcm.backbones.control import Control
from mcm.errors import UserError
from mcm.safety import guard
from mcm.sampling.clip import Clip
from mcm.sampling.denoiser import Noise
from mcm.sampling.following import following
from mcm.sampling.options import ModelWarning, Settings, check_prompt, check_seed, resolve
from mcm.sampling.samplers import OnStep, find_sampler

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel

_OF_THE_CALLER = 4
"""How far the caller of `VideoModel.generate_batch` is from the warning."""


def make_batch(
    model: VideoModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    image: NDArray[np.uint8] | None,
    control: Control | None,
    on_step: OnStep | None,
    options: dict[str, Any],
) -> list[Clip | guard.Refused]:
    """Do the work of :meth:`mcm.sampling.pipeline.VideoModel.generate_batch`; arguments as there.

    Returns:
        The clips; in the place of one whose frames the policy does not allow, why.
    """
    settings = resolve(model.defaults, model.backbone.spec, **options)
    sampler = find_sampler(settings.sampler)
    prompts, seeds = _pairs(prompts, seeds)
    for prompt in prompts:
        guard.check_prompt(prompt)
    _warn(model, prompts, settings)
    timings: dict[str, float] = {}
    with (
        torch.inference_mode(),
        model.backbone.using(model.adapter),
        following(model.backbone, image, control),
    ):
        with model.timed(timings, "text"):
            denoise = model.denoiser(prompts, settings)
        with model.timed(timings, "network"):
            plan = model.plan(settings, on_step)
            latents_bcthw = sampler(denoise, Noise.from_seeds(seeds), plan)
        with model.timed(timings, "decode"):
            videos = [model.decode(latents) for latents in latents_bcthw.split(1)]
    described = {**model.identity, **settings.as_dict()}
    fps = model.backbone.spec.fps
    return [
        _checked(frames, Clip(frames[: settings.frames], fps, prompt, seed, described, timings))
        for frames, prompt, seed in zip(videos, prompts, seeds, strict=True)
    ]


def _checked(frames: NDArray[np.uint8], clip: Clip) -> Clip | guard.Refused:
    """Return a clip, or why all that was made for it must not be shown."""
    try:
        guard.check_clip(frames, clip.prompt)
    except guard.Refused as refused:
        if refused.of_frames:
            return refused
        raise
    return clip


def _pairs(prompts: object, seeds: object) -> tuple[list[str], list[int]]:
    """Return as many prompts as seeds.

    Raises:
        UserError: There are none, or not as many of the one as of the other, or one is wrong.
    """
    for name, values in (("prompts", prompts), ("seeds", seeds)):
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise UserError(f"{name}: got {values!r:.60}, expected a list of them")
    assert isinstance(prompts, Iterable) and isinstance(seeds, Iterable)
    texts, numbers = [check_prompt(one) for one in prompts], [check_seed(one) for one in seeds]
    if not texts or len(texts) != len(numbers):
        raise UserError(
            f"prompts, seeds: got {len(texts)} and {len(numbers)}, expected one seed for each of "
            "at least one prompt"
        )
    return texts, numbers


def _warn(model: VideoModel, prompts: Sequence[str], settings: Settings) -> None:
    told = []
    for prompt in prompts:
        cut = model.backbone.cut_prompt(prompt)
        if cut:
            limit = model.backbone.spec.max_tokens
            told.append(f"prompt: over the limit of {limit} tokens; this part was cut: {cut!r}")
    if settings.negative_prompt and settings.guidance == 1:
        told.append("negative_prompt: has no effect without guidance; set guidance above 1")
    usual, sampler = model.defaults.stochasticity, settings.sampler
    if settings.stochasticity != usual and sampler != "consistency":
        told.append(f"stochasticity: has no effect with the sampler {sampler}; it is a student's")
    for message in told:
        warnings.warn(message, ModelWarning, stacklevel=_OF_THE_CALLER)
