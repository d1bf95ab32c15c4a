"""ComfyUI's pictures and masks, float in [0, 1], and ours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcm.data.resize import fit
from mcm.errors import UserError
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
    """Return IMAGE as frames, uint8, (t, H, W, 3), cropped and resized to (height, width).

    Of one channel it is grey; a fourth channel is left out.

    Raises:
        UserError: It is no IMAGE, which has the shape (t, h, w, 1, 3 or 4).
    """
    if images_thwc.ndim != 4 or images_thwc.shape[3] not in (1, 3, 4) or not images_thwc.numel():
        raise UserError(
            f"images: got the shape {tuple(images_thwc.shape)}, expected (frames, height, width, "
            "channels) with 1, 3 or 4 channels"
        )
    pixels = images_thwc[..., :3].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    colours = pixels.expand(-1, -1, -1, 3)
    return np.stack([fit(frame, size) for frame in colours.cpu().numpy()])


def to_mask(mask: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the first picture of MASK as (H, W), true where it is more than half.

    Args:
        mask: (b, h, w), or (h, w).
        size: (height, width) to crop and resize to.

    Raises:
        UserError: It has another shape, or is empty.
    """
    if mask.ndim not in (2, 3) or not mask.numel():
        raise UserError(
            f"mask: got the shape {tuple(mask.shape)}, expected (height, width), or (masks, "
            "height, width)"
        )
    first_hw = mask if mask.ndim == 2 else mask[0]
    return np.asarray(to_frames(first_hw[None, ..., None], size)[0, ..., 0] >= 128, dtype=np.bool_)
