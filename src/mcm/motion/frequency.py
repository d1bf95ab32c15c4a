"""Motion as the low or the high spatio-temporal frequencies of a latent video.

Reference: Wu et al., FreeInit, 2023 (arXiv 2312.07537), for the Butterworth filter.
"""

from __future__ import annotations

import torch
from torch import Tensor

ORDER = 4
STOP_FREQUENCY = 0.25


def butterworth(frames: int, height: int, width: int) -> Tensor:
    """H(d²) = 1 / (1 + (d² / f_stop²)^n), d the distance from zero frequency, n = 4.

    An axis of length N has the normalised frequencies 2·i/N − 1 for i = 0 .. N − 1, and
    f_stop = 0.25 in space and time.

    Returns:
        Gain in [0, 1], shape (frames, height, width), zero frequency in the centre (of even
        axes; an odd axis has it half a step off, as FreeInit has).
    """
    t, h, w = (2 * torch.arange(n) / n - 1 for n in (frames, height, width))
    squared_thw = t[:, None, None] ** 2 + h[:, None] ** 2 + w**2
    return 1 / (1 + (squared_thw / STOP_FREQUENCY**2) ** ORDER)


def low_frequencies(latents_bcthw: Tensor) -> Tensor:
    """Re F⁻¹(H · F(x)) over frames, height and width; same shape, float32."""
    return _filtered(latents_bcthw, butterworth(*latents_bcthw.shape[2:]))


def high_frequencies(latents_bcthw: Tensor) -> Tensor:
    """Re F⁻¹((1 − H) · F(x)) over frames, height and width; same shape, float32."""
    return _filtered(latents_bcthw, 1 - butterworth(*latents_bcthw.shape[2:]))


def _filtered(latents_bcthw: Tensor, gain_thw: Tensor) -> Tensor:
    gain_thw = torch.fft.ifftshift(gain_thw).to(latents_bcthw.device)
    axes = (-3, -2, -1)
    spectrum = torch.fft.fftn(latents_bcthw.float(), dim=axes) * gain_thw
    filtered_bcthw: Tensor = torch.fft.ifftn(spectrum, dim=axes).real
    return filtered_bcthw
