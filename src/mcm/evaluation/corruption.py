"""Known flaws for judges to learn: looks between clean and poor, bent shapes, wrong playback."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PLAYBACKS = ("forward", "shuffled", "frozen", "jumping")
_WARP = 0.16


def spoilt(pairs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return pictures between clean and poor, some warped, and how much of both, (b, 2).

    Args:
        pairs: Clean beside poor, (b, 2, t, 3, h, w) uint8.
        generator: Source of chance.
    """
    batch = len(pairs)
    poor_b = (1.6 * torch.rand(batch, generator=generator) - 0.3).clamp(0, 1)
    clean, poor = (half.float() / 127.5 - 1 for half in pairs.unbind(1))
    x = torch.lerp(clean, poor, poor_b.view(-1, 1, 1, 1, 1))
    warp_b = (2 * torch.rand(batch, generator=generator) - 1).clamp(min=0)
    return warped(x, warp_b, generator), torch.stack([poor_b, warp_b], dim=1)


def warped(x_btchw: Tensor, strength_b: Tensor, generator: torch.Generator) -> Tensor:
    """Bend pictures by a smooth random field, half of the clips by another one in each frame."""
    batch, frames, _, height, width = x_btchw.shape
    knots = torch.randn(batch, frames, 2, 5, 5, generator=generator)
    steady = torch.rand(batch, generator=generator) < 0.5
    knots[steady] = knots[steady][:, :1]
    field = F.interpolate(knots.flatten(0, 1), (height, width), mode="bicubic")
    field = field.permute(0, 2, 3, 1).view(batch, frames, height, width, 2)
    identity = F.affine_grid(torch.eye(2, 3)[None], [1, 1, height, width], align_corners=False)
    grid = identity + _WARP * strength_b.view(-1, 1, 1, 1, 1) * field
    bent = F.grid_sample(
        x_btchw.flatten(0, 1), grid.flatten(0, 1), padding_mode="border", align_corners=False
    )
    return bent.view_as(x_btchw)


def played(x_btchw: Tensor, playback_b: Tensor, generator: torch.Generator) -> Tensor:
    """Return clips forward, shuffled, frozen or jumping, as their number in ``PLAYBACKS`` says."""
    out = x_btchw.clone()
    for row, playback in enumerate(playback_b.tolist()):
        frames = x_btchw.shape[1]
        match PLAYBACKS[playback]:
            case "shuffled":
                out[row] = x_btchw[row, torch.randperm(frames, generator=generator)]
            case "frozen":
                out[row] = x_btchw[row, torch.randint(frames, (1,), generator=generator)]
            case "jumping":
                shifts = torch.randint(-4, 5, (frames, 2), generator=generator).tolist()
                moved = [x_btchw[row, t].roll(s, (1, 2)) for t, s in enumerate(shifts)]
                out[row] = torch.stack(moved)
    return out
