"""From frames to pixels and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_video(frames_thwc: NDArray[np.uint8]) -> Tensor:
    """Turn frames, uint8, (t, h, w, 3), into pixels in [-1, 1], (1, 3, t, h, w)."""
    pixels = torch.from_numpy(frames_thwc.copy()).float() / 127.5 - 1
    return pixels.permute(3, 0, 1, 2)[None]


def to_uint8(pixels_l3hw: Tensor) -> NDArray[np.uint8]:
    """Turn pixels in [-1, 1], (l, 3, h, w), into frames, uint8, (l, h, w, 3)."""
    frames = pixels_l3hw.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(frames.permute(0, 2, 3, 1).cpu().numpy())
