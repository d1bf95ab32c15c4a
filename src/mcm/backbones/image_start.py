"""Image-to-video with models that know a timestep for each token: the first frame is clean.

Wan 2.2 TI2V-5B and LTX-Video were trained so. The first latent frame is the picture's, at timestep
0, whatever the noise of the others; what is predicted for it is the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.backbones.pipeline import PipelineBackbone
from mcm.diffusion import Prediction, convert
from mcm.errors import UserError


class ImageStart(PipelineBackbone):
    """A backbone whose clips may start from a picture.

    Attributes:
        first_bc1hw: Latents of the picture, or ``None``.
    """

    first_bc1hw: Tensor | None = None

    @property
    def starts_from_images(self) -> bool:
        """Whether this very model was trained for it."""
        return True

    @contextmanager
    def starting_from(self, image_3hw: Tensor) -> Iterator[None]:
        """Start every clip inside from a picture in [-1, 1] of the clip's size.

        Raises:
            UserError: The model makes video from text alone.
        """
        if not self.starts_from_images:
            raise UserError(
                "image: this model makes video from text alone; image-to-video needs LTX-Video or "
                "Wan 2.2 TI2V"
            )
        self.first_bc1hw = self.encode_video(image_3hw[None, :, None])
        try:
            yield
        finally:
            self.first_bc1hw = None

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        """Return the wanted prediction, which leads the first frame to the picture."""
        if self.first_bc1hw is None:
            return super().predict(x_bcthw, t_b, condition, want)
        first = self.first_bc1hw.expand(len(x_bcthw), -1, -1, -1, -1).to(x_bcthw)
        x0 = super().predict(torch.cat([first, x_bcthw[:, :, 1:]], dim=2), t_b, condition, "x0")
        x0 = torch.cat([first, x0[:, :, 1:]], dim=2)
        return convert(x0, x_bcthw, *self.schedule.alpha_sigma(t_b), "x0", want)

    def token_timesteps(self, x_bcthw: Tensor, t_b: Tensor, patch: int) -> Tensor:
        """Return t, or with a picture a timestep for each token (b, l): 0 in the first frame."""
        if self.first_bc1hw is None:
            return t_b
        _, _, frames, height, width = x_bcthw.shape
        tokens = height // patch * (width // patch)
        later_l = torch.arange(frames * tokens, device=t_b.device) >= tokens
        return t_b[:, None] * later_l
