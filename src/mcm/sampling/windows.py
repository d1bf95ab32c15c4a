"""Clips longer than a network was trained on, and clips that loop: overlapping windows of frames.

In every network step each window is denoised on its own and the predictions are blended, so that
neighbours agree before the next step: Bar-Tal et al., *MultiDiffusion*, 2023 (arXiv 2302.08113),
along time as in Wang et al., *Gen-L-Video*, 2023 (arXiv 2305.18264).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mcm.diffusion import Prediction, Schedule
from mcm.sampling.denoiser import Denoise


@dataclass(frozen=True, eq=False)
class WindowedDenoiser:
    """Denoises any number of latent frames with a network made for ``length`` of them.

    Attributes:
        denoise: The network, bound to its prompts.
        length: Latent frames of a window.
        loop: Whether the last frame is followed by the first.
    """

    denoise: Denoise
    length: int
    loop: bool = False

    @property
    def schedule(self) -> Schedule:
        """Schedule of the network."""
        return self.denoise.schedule

    def __call__(self, x_bcthw: Tensor, t: Tensor, want: Prediction) -> Tensor:
        """Return the blend of the windows' predictions, which are affine in each other at one t.

        The borders of the windows move with ``t``, so that no frame is always at one.
        """
        frames = x_bcthw.shape[2]
        length = min(self.length, frames)
        hat_l = torch.minimum(torch.arange(length) + 1, length - torch.arange(length))
        hat_l11 = hat_l[:, None, None].to(x_bcthw.device, torch.float32)
        summed = torch.zeros_like(x_bcthw, dtype=torch.float32)
        weight_t11 = torch.zeros(frames, 1, 1, device=x_bcthw.device)
        for index_l in windows(frames, length, int(t), self.loop):
            index_l = index_l.to(x_bcthw.device)
            seen = self.denoise(x_bcthw[:, :, index_l], t, want)
            summed.index_add_(2, index_l, hat_l11 * seen)
            weight_t11.index_add_(0, index_l, hat_l11)
        return summed / weight_t11


def windows(frames: int, length: int, offset: int, loop: bool) -> list[Tensor]:
    """Return the frame numbers, (length,), of windows that overlap by half and cover a clip.

    Args:
        frames: Frames of the clip.
        length: Frames of a window, at most ``frames``.
        offset: Moves the borders.
        loop: Let windows run over the end into the start.
    """
    stride = max(length // 2, 1)
    count = -(-frames // stride)
    starts = [offset % stride + stride * number for number in range(-1, count)]
    if loop:
        starts = starts[1:]
    else:
        starts = sorted({min(max(start, 0), frames - length) for start in starts})
    return [(start + torch.arange(length)) % frames for start in starts]
