"""ControlNet guidance of AnimateDiff: poses, edges or depth, one picture for each frame.

Zhang et al., *Adding Conditional Control to Text-to-Image Diffusion Models*, 2023
(arXiv 2302.05543); the residuals of every frame go into the image layers, as in diffusers'
`AnimateDiffControlNetPipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mcm.backbones.components import load_component
from mcm.errors import UserError


@dataclass(frozen=True)
class Control:
    """A ControlNet and what it shall follow.

    Attributes:
        network: A `ControlNetModel` of diffusers.
        frames_t3hw: Pictures in [0, 1], one for each frame of the clip.
        scale: How strictly they are followed; 1 is the ControlNet's own measure.
    """

    network: Any
    frames_t3hw: Tensor
    scale: float = 1.0

    @classmethod
    def load(
        cls, folder: str | Path, frames_t3hw: Tensor, scale: float, dtype: torch.dtype
    ) -> Control:
        """Load the ControlNet of a folder.

        Raises:
            UserError: It is missing, broken or no ControlNet, or the scale is negative.
        """
        if scale < 0:
            raise UserError(f"control_scale: got {scale}, expected 0 (none) or more")
        path = Path(folder).expanduser()
        network = load_component(path.parent, path.name, "ControlNetModel", dtype)
        return cls(network.eval().requires_grad_(False), frames_t3hw, scale)

    def residuals(self, x_bcthw: Tensor, t_b: Tensor, tokens_bld: Tensor) -> dict[str, Any]:
        """Return the arguments of `UNetMotionModel` that carry the residuals.

        Raises:
            UserError: The pictures are not as many or not as large as the frames.
        """
        batch, _, count, height, width = x_bcthw.shape
        pictures = self.frames_t3hw.to(x_bcthw)
        factor = pictures.shape[-1] / width
        if len(pictures) != count or tuple(pictures.shape[-2:]) != (
            factor * height,
            factor * width,
        ):
            raise UserError(
                f"control: {len(pictures)} pictures of {pictures.shape[-1]}x{pictures.shape[-2]}, "
                f"but the clip has {count} frames of latent size {width}x{height}; give a picture "
                "of the clip's size for each frame"
            )
        down, middle = self.network(
            x_bcthw.transpose(1, 2).flatten(0, 1),
            t_b.repeat_interleave(count),
            encoder_hidden_states=tokens_bld.repeat_interleave(count, dim=0),
            controlnet_cond=pictures.repeat(batch, 1, 1, 1),
            conditioning_scale=self.scale,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
