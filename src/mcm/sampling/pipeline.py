"""A model that generates clips from text: load it once, generate often."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcm.backbones.base import Backbone, Condition
from mcm.backbones.control import Control
from mcm.devices import synchronize
from mcm.errors import UserError
from mcm.safety import guard
from mcm.sampling.clip import Clip
from mcm.sampling.denoiser import Denoise, Denoiser
from mcm.sampling.following import check_windows
from mcm.sampling.options import Defaults, Settings
from mcm.sampling.pixels import to_uint8, to_video
from mcm.sampling.samplers import OnStep, Plan
from mcm.sampling.windows import WindowedDenoiser


@dataclass(frozen=True, eq=False)
class VideoModel:
    """A student or teacher, ready to generate.

    Attributes:
        name: What the user called it.
        backbone: The model.
        defaults: How it likes to be sampled.
        device: Where it runs.
        adapter: Variant of the backbone to sample; ``None`` is its base weights, into which
            `load` merges a student's adapter.
        adapter_hash: SHA-256 of a student's adapter; ``None`` without one.
    """

    name: str
    backbone: Backbone
    defaults: Defaults
    device: torch.device
    adapter: str | None = None
    adapter_hash: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """What a clip says of the model: its name, and the hash of a student's adapter."""
        hashed = {} if self.adapter_hash is None else {"adapter_sha256": self.adapter_hash}
        return {"model": self.name, **hashed}

    def generate(
        self,
        prompt: str,
        steps: int | None = None,
        seed: int = 0,
        guidance: float | None = None,
        sampler: str | None = None,
        frames: int | None = None,
        size: tuple[int, int] | None = None,
        negative_prompt: str = "",
        stochasticity: float | None = None,
        loop: bool = False,
        image: NDArray[np.uint8] | None = None,
        control: Control | None = None,
        on_step: OnStep | None = None,
    ) -> Clip:
        """Generate one clip; what is not given is the model's own.

        Args:
            prompt: What the video shows.
            steps: Network steps, 1 to 50.
            seed: The same seed, settings and model give the same clip.
            guidance: Guidance scale in diffusers' convention; 1 is none.
            sampler: `consistency`, `ddim`, `dpmpp_2m`, `unipc` or `euler`.
            frames: Frames of the clip; more than the model was trained on are made in overlapping
                windows.
            size: (height, width) in pixels.
            negative_prompt: What guidance steers away from.
            loop: Make the last frame lead on to the first.
            stochasticity: How much of the noise between a student's steps is fresh, 0 to 1.
            image: As in :meth:`generate_batch`.
            control: As in :meth:`generate_batch`.
            on_step: As in :meth:`generate_batch`.

        Returns:
            The clip; its ``frames`` are uint8, (t, h, w, 3), RGB.

        Raises:
            UserError: The prompt is empty or a value is out of its range.
            Refused: The policy of `mcm.safety` does not allow the prompt or what was made of it.

        Warns:
            ModelWarning: The prompt is over the token limit; names what was cut.
        """
        options: dict[str, Any] = {
            "steps": steps,
            "guidance": guidance,
            "sampler": sampler,
            "frames": frames,
            "size": size,
            "negative_prompt": negative_prompt,
            "stochasticity": stochasticity,
            "loop": loop,
            "image": image,
            "control": control,
        }
        return self.generate_batch([prompt], [seed], on_step=on_step, **options)[0]

    def generate_batch(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        image: NDArray[np.uint8] | None = None,
        control: Control | None = None,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> list[Clip]:
        """Generate a clip for each prompt and seed, together.

        A clip does not depend on what else is in its batch, up to rounding.

        Args:
            prompts: What the videos show.
            seeds: One per prompt.
            image: First frame of all clips, RGB uint8 (h, w, 3) of the clips' size (LTX-Video, Wan
                2.2 TI2V).
            control: A ControlNet and the pictures that all clips follow (AnimateDiff).
            on_step: Called after each network step with its number from 1, the number of
                steps, and the clean latents, (b, c, t, h, w), as they look so far.
            **options: As in :func:`mcm.sampling.options.resolve`: ``steps``, ``guidance`` (1 is
                none), ``sampler``, ``frames``, ``size`` (height, width), ``negative_prompt``,
                ``stochasticity``, ``loop``.

        Returns:
            The clips, in the order of the prompts.

        Raises:
            UserError: A prompt is empty or a value is out of its range.
            Refused: The policy of `mcm.safety` does not allow a prompt or what was made of it.

        Warns:
            ModelWarning: A prompt is over the token limit; names what was cut.
        """
        from mcm.sampling.batch import make_batch

        made = make_batch(self, prompts, seeds, image, control, on_step, options)
        return [_accepted(one) for one in made]

    def edit(
        self,
        frames_thwc: NDArray[np.uint8],
        prompt: str,
        *,
        strength: float = 0.6,
        mask_hw: NDArray[np.bool_] | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> Clip:
        """Change a video to what a prompt says, in few steps.

        Args:
            frames_thwc: The video, RGB uint8, (t, h, w, 3), of a size and length that the model can
                make.
            prompt: What it shall show.
            strength: How much may change: above 0 (little) to 1 (everything).
            mask_hw: Where it may change, bool, (h, w); everywhere by default. Elsewhere pixels
                stay.
            seed: Seed of the noise.
            on_step: As in :meth:`generate_batch`.
            **options: ``steps``, of which a small strength leaves fewer, ``stochasticity``,
                ``guidance`` and ``negative_prompt`` as in :meth:`generate`; no others.

        Returns:
            The clip, of as many frames and of the same size.

        Raises:
            UserError: The model is no student, the prompt is empty, or a value is out of range.
            Refused: The policy of `mcm.safety` does not allow the prompt or what was made of it.
        """
        from mcm.sampling.edit import edit

        return edit(self, frames_thwc, prompt, strength, mask_hw, seed, on_step, options)

    def stream(
        self,
        prompt: str,
        *,
        seed: int = 0,
        overlap: int | None = None,
        **options: Any,
    ) -> Iterator[Clip]:
        """Generate without end; each window of frames goes on from the one before.

        Stop by leaving the loop. The next window is made when it is asked for.

        Args:
            prompt: What the video shows.
            seed: The same seed, settings and model give the same stream.
            overlap: Frames that a window shares with the one before, which are made once; a
                quarter of a window by default. More give smoother motion and fewer frames a second.
            **options: ``steps`` (2 or more, as a first step sees nothing of the frames before),
                ``size`` and ``stochasticity`` as in :meth:`generate`; no others.

        Returns:
            The new frames of each window: as many as the model's own clip at first, then that
            many less ``overlap``; ``timings`` are the window's own.

        Raises:
            UserError: The model is no student, its autoencoder ties frames together, the prompt
                is empty, or a value is out of its range.
            Refused: The policy of `mcm.safety` does not allow the prompt, or a window's frames.
        """
        from mcm.sampling.stream import stream

        return stream(self, prompt, seed, overlap, options)

    def denoiser(self, prompts: Sequence[str], settings: Settings) -> Denoise:
        """Bind the model to prompts, with guidance and windows if the settings ask for them.

        Raises:
            UserError: Windows are asked for, and the clip follows pictures.
        """
        denoise = self._guided(prompts, settings)
        spec = self.backbone.spec
        if settings.frames <= spec.frames and not settings.loop:
            return denoise
        check_windows(self.backbone)
        return WindowedDenoiser(denoise, spec.latent_shape()[1], settings.loop)

    def _guided(self, prompts: Sequence[str], settings: Settings) -> Denoiser:
        if settings.guidance == 1:
            return Denoiser(self.backbone, self.backbone.encode_prompt(prompts))
        states: Condition = self.backbone.encode_prompt([settings.negative_prompt, *prompts])
        return Denoiser(self.backbone, states[1:], states[:1], settings.guidance)

    def plan(self, settings: Settings, on_step: OnStep | None) -> Plan:
        """Return what a sampler is to make."""
        return Plan(
            shape=self.backbone.spec.latent_shape(settings.frames, settings.height, settings.width),
            steps=settings.steps,
            original_steps=self.defaults.original_steps,
            timestep_scaling=self.defaults.timestep_scaling,
            device=self.device,
            on_step=on_step,
            stochasticity=settings.stochasticity,
        )

    def decode(self, latents_bcthw: Tensor) -> NDArray[np.uint8]:
        """Return the frames of one clip, uint8, (t, h, w, 3).

        Raises:
            UserError: They are not finite.
        """
        pixels_bl3hw = self.backbone.decode_frames(latents_bcthw)
        if not pixels_bl3hw.isfinite().all():
            raise UserError(
                f"{self.name}: what it made is not finite; its weights are damaged or too large "
                "for their number format: try float32 (--dtype float32), or fetch them again"
            )
        return to_uint8(pixels_bl3hw[0])

    @torch.inference_mode()
    def reconstruct(self, frames_thwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the autoencoder keeps of a clip.

        Args:
            frames_thwc: RGB uint8, (t, h, w, 3), of a size and length that the model can make.

        Returns:
            Frames of the same size, uint8.
        """
        video_bcthw = to_video(frames_thwc).to(self.device)
        return self.decode(self.backbone.encode_video(video_bcthw))

    @contextmanager
    def timed(self, timings: dict[str, float], name: str) -> Iterator[None]:
        """Write the seconds of a block into ``timings``."""
        start = time.perf_counter()
        yield
        synchronize(self.device)
        timings[name] = time.perf_counter() - start


def _accepted(made: Clip | guard.Refused) -> Clip:
    if isinstance(made, guard.Refused):
        raise made
    return made
