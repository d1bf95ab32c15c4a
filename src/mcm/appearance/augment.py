"""Differentiable augmentation of frames, with all randomness from one generator.

Zhao et al. 2020 (arXiv 2006.10738): the critic sees real and generated frames only
through the same random transformations, and gradients pass through them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from mcm.errors import UserError, nearest

TRANSLATION_RATIO = 1 / 8
CUTOUT_RATIO = 1 / 2


def uniform(batch: int, like_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Draw u ~ U[0, 1) per sample, shaped (b, 1, 1, 1) for broadcasting."""
    draw = torch.rand(batch, 1, 1, 1, generator=generator, device=generator.device)
    return draw.to(like_b3hw)


def integers(batch: int, high: int, generator: torch.Generator) -> list[int]:
    """Draw ``batch`` integers uniform on 0..high inclusive."""
    draw = torch.randint(high + 1, (batch,), generator=generator, device=generator.device)
    return [int(value) for value in draw.tolist()]


def brightness(frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Add u − 0.5 to every pixel: x + u − ½."""
    return frames_b3hw + uniform(len(frames_b3hw), frames_b3hw, generator) - 0.5


def saturation(frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Scale the distance to the pixel's grey: m + 2u(x − m), m over channels."""
    grey_b1hw = frames_b3hw.mean(1, keepdim=True)
    factor = 2 * uniform(len(frames_b3hw), frames_b3hw, generator)
    return grey_b1hw + factor * (frames_b3hw - grey_b1hw)


def contrast(frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Scale the distance to the frame's mean: m + (u + ½)(x − m), m over the frame."""
    mean_b111 = frames_b3hw.mean((1, 2, 3), keepdim=True)
    factor = uniform(len(frames_b3hw), frames_b3hw, generator) + 0.5
    return mean_b111 + factor * (frames_b3hw - mean_b111)


def color(frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Apply brightness, saturation and contrast, in this order."""
    for transform in (brightness, saturation, contrast):
        frames_b3hw = transform(frames_b3hw, generator)
    return frames_b3hw


def crop(
    frames_b3hw: Tensor, tops: Sequence[int], lefts: Sequence[int], height: int, width: int
) -> Tensor:
    """Cut one window of ``height`` × ``width`` per sample."""
    windows = zip(frames_b3hw.unbind(0), tops, lefts, strict=True)
    return torch.stack([f[:, top : top + height, left : left + width] for f, top, left in windows])


def translation(frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to an eighth of the side each way; mid-grey (0) fills the border."""
    batch, _, height, width = frames_b3hw.shape
    rows, columns = int(height * TRANSLATION_RATIO), int(width * TRANSLATION_RATIO)
    padded = pad(frames_b3hw, (columns, columns, rows, rows))
    tops = integers(batch, 2 * rows, generator)
    lefts = integers(batch, 2 * columns, generator)
    return crop(padded, tops, lefts, height, width)


def cutout(frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
    """Set a rectangle of half the sides to mid-grey (0); it may hang over the border."""
    batch, _, height, width = frames_b3hw.shape
    rows, columns = int(height * CUTOUT_RATIO), int(width * CUTOUT_RATIO)
    mask_b1hw = frames_b3hw.new_ones(batch, 1, height, width)
    tops = integers(batch, height - rows % 2, generator)
    lefts = integers(batch, width - columns % 2, generator)
    for mask, top, left in zip(mask_b1hw, tops, lefts, strict=True):
        y, x = top - rows // 2, left - columns // 2
        mask[:, max(y, 0) : max(y + rows, 0), max(x, 0) : max(x + columns, 0)] = 0
    return frames_b3hw * mask_b1hw


TRANSFORMS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


def check_policy(policy: Sequence[str]) -> None:
    """Check the names of an augmentation policy.

    Raises:
        UserError: If a name is unknown.
    """
    for name in policy:
        if name not in TRANSFORMS:
            guess = nearest(name, TRANSFORMS)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise UserError(
                f"critic.augment: '{name}' is unknown; "
                f"expected any of {', '.join(TRANSFORMS)}.{hint}"
            )


def augment(frames_b3hw: Tensor, policy: Sequence[str], generator: torch.Generator) -> Tensor:
    """Apply the named transformations, each drawn anew for every sample.

    Args:
        frames_b3hw: Frames in [-1, 1]; the result is not clamped, so that gradients
            pass everywhere.
        policy: Names out of ``color``, ``translation``, ``cutout``, in order.
        generator: Source of all randomness.
    """
    for name in policy:
        frames_b3hw = TRANSFORMS[name](frames_b3hw, generator)
    return frames_b3hw


def fit(frames_b3hw: Tensor, size: int, multiple: int, generator: torch.Generator) -> Tensor:
    """Bring frames to the backbone's size by a random crop or by area averaging.

    Frames whose sides are at most ``size`` and multiples of ``multiple`` stay as they
    are. Otherwise the result is square, of side min(size, h, w) rounded down to a
    multiple; a fair coin per batch decides whether it is cut out at full resolution
    or averaged down from the largest square. The place of the cut is drawn per
    sample; proportions are kept and nothing is ever enlarged.

    Args:
        frames_b3hw: Frames in [-1, 1].
        size: Largest side of the result in pixels.
        multiple: The sides of the result are multiples of this.
        generator: Source of all randomness.

    Raises:
        UserError: If a side is smaller than ``multiple``.
    """
    batch, _, height, width = frames_b3hw.shape
    if max(height, width) <= size and height % multiple == 0 and width % multiple == 0:
        return frames_b3hw
    side = min(size, height, width) // multiple * multiple
    if side == 0:
        raise UserError(
            f"frames of {height}x{width} px are smaller than one patch of the critic's "
            f"backbone ({multiple} px); use larger frames or the backbone 'efficientnet'."
        )
    whole = integers(1, 1, generator)[0] == 1
    window = min(height, width) if whole else side
    tops = integers(batch, height - window, generator)
    lefts = integers(batch, width - window, generator)
    square = crop(frames_b3hw, tops, lefts, window, window)
    return adaptive_avg_pool2d(square, side) if window > side else square
