"""ComfyUI's pictures and masks, float in [0, 1], and ours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcm.data.resize import fit
from mcm.media.metadata import to_text
from mcm.safety.publishing import prepare
from mcm.sampling.clip import Clip

Frames = NDArray[np.uint8]


def to_images(clip: Clip) -> Tensor:
    """Return a clip's frames as IMAGE, (t, h, w, 3), marked as all that leaves mcm is marked."""
    facts = clip.metadata()
    marked = prepare(clip.frames, to_text(facts), facts).frames
    return torch.from_numpy(marked.astype(np.float32) / 255)


def to_frames(images_thwc: Tensor, size: tuple[int, int]) -> Frames:
    """Return IMAGE as frames, uint8, (t, H, W, 3), cropped and resized to (height, width)."""
    pixels = images_thwc[..., :3].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.stack([fit(frame, size) for frame in pixels.cpu().numpy()])


def to_mask(mask_bhw: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the first picture of MASK as (H, W), true where it is more than half."""
    grey = mask_bhw[:1, ..., None].expand(-1, -1, -1, 3)
    return np.asarray(to_frames(grey, size)[0, ..., 0] >= 128, dtype=np.bool_)
