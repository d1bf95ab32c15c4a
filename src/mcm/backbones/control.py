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
from mcm.backbones.hub import locate
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
        cls, source: str | Path, frames_t3hw: Tensor, scale: float, dtype: torch.dtype
    ) -> Control:
        """Load a ControlNet.

        Args:
            source: Its folder, or its name on a hub.
            frames_t3hw: Pictures in [0, 1], one for each frame of the clip.
            scale: How strictly they are followed, from 0.
            dtype: Number format of its weights, that of the backbone.

        Raises:
            UserError: It is missing, broken or no ControlNet, or the scale is negative.
        """
        if scale < 0:
            raise UserError(f"control_scale: got {scale}, expected 0 (none) or more")
        path = locate(source)
        if path is None:
            raise UserError(
                f"control: {source}: no such ControlNet; expected a folder of a ControlNetModel or "
                "OWNER/NAME of a hub"
            )
        network = load_component(path.parent, path.name, "ControlNetModel", dtype)
        return cls(network.eval().requires_grad_(False), frames_t3hw, scale)

    @property
    def factor(self) -> int:
        """Pixels of a picture to one latent position."""
        return int(2 ** (len(self.network.config.conditioning_embedding_out_channels) - 1))

    def join(self, network: Any) -> None:
        """Move to the device of the network that is guided.

        Raises:
            UserError: The ControlNet was made for another image model.
        """
        for field in ("in_channels", "cross_attention_dim", "block_out_channels"):
            ours, theirs = (_plain(part.config[field]) for part in (self.network, network))
            if ours != theirs:
                raise UserError(
                    f"control: the ControlNet is for another image model: its {field} is {ours}, "
                    f"that of this model {theirs}"
                )
        self.network.to(next(network.parameters()).device)

    def residuals(self, x_bcthw: Tensor, t_b: Tensor, tokens_bld: Tensor) -> dict[str, Any]:
        """Return the arguments of `UNetMotionModel` that carry the residuals.

        Raises:
            UserError: The pictures are not as many or not as large as the frames.
        """
        batch, _, count, height, width = x_bcthw.shape
        pictures = self.frames_t3hw.to(x_bcthw)
        wanted = (count, 3, self.factor * height, self.factor * width)
        if tuple(pictures.shape) != wanted:
            raise UserError(
                f"control: got {len(pictures)} pictures of {pictures.shape[-1]}x"
                f"{pictures.shape[-2]}, but the clip has {count} frames of {wanted[3]}x"
                f"{wanted[2]}; give a picture of the clip's size for each frame"
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


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
