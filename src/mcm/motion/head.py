"""The learnable motion head: a residual per-frame network, identity at the start."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NORM_GROUPS = 32


class MotionHead(nn.Module):
    """M(x) = x + W₂ · SiLU(GroupNorm(W₁ · SiLU(x))), frame by frame, W 1×1 convolutions.

    W₂ starts at zero, so that M is the identity before training. Only distillation uses
    the head (its target an exponential moving average of it); students ship without it.

    Reference: Zhai et al., Motion Consistency Model, 2024 (arXiv 2406.06890), section 4.1.
    """

    def __init__(self, channels: int, hidden: int = 64) -> None:
        """Make a head.

        Args:
            channels: Latent channels.
            hidden: Width between the convolutions, a multiple of 32.
        """
        super().__init__()
        self.conv_in = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.GroupNorm(NORM_GROUPS, hidden)
        self.conv_out = nn.Conv2d(hidden, channels, 1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, latents_bcthw: Tensor) -> Tensor:
        """Return the motion representation, same shape as the latents."""
        batch = len(latents_bcthw)
        frames = latents_bcthw.transpose(1, 2).flatten(0, 1)
        hidden = F.silu(self.norm(self.conv_in(F.silu(frames))))
        residual_btchw: Tensor = self.conv_out(hidden).unflatten(0, (batch, -1))
        return latents_bcthw + residual_btchw.transpose(1, 2)
