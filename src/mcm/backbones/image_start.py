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
    def followed(self) -> str | None:
        """`image` while clips start from a picture."""
        return None if self.first_bc1hw is None else "image"

    @property
    def starts_from_images(self) -> bool:
        """Whether this very model was trained for it."""
        return True

    @contextmanager
    def starting_from(self, image_3hw: Tensor) -> Iterator[None]:
        """Start every clip inside from a picture in [-1, 1] of the clip's size.

        Raises:
            UserError: The model makes video from text alone, or the picture's size is not whole on
                its latent grid.
        """
        if not self.starts_from_images:
            raise UserError(
                "image: this model makes video from text alone; image-to-video needs LTX-Video or "
                "Wan 2.2 TI2V"
            )
        step = self.spec.size_step
        if image_3hw.shape[0] != 3 or any(side % step for side in image_3hw.shape[1:]):
            raise UserError(
                f"image: got shape {tuple(image_3hw.shape)}, expected (3, height, width) in "
                f"multiples of {step} pixels"
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
        self._check_size(x_bcthw)
        first = self.first_bc1hw.expand(len(x_bcthw), -1, -1, -1, -1).to(x_bcthw)
        x0 = super().predict(torch.cat([first, x_bcthw[:, :, 1:]], dim=2), t_b, condition, "x0")
        x0 = torch.cat([first, x0[:, :, 1:]], dim=2)
        return convert(x0, x_bcthw, *self.schedule.alpha_sigma(t_b), "x0", want)

    def _check_size(self, x_bcthw: Tensor) -> None:
        assert self.first_bc1hw is not None
        factor = self.spec.spatial_factor
        picture, clip = (
            f"{factor * latents.shape[-1]}x{factor * latents.shape[-2]}"
            for latents in (self.first_bc1hw, x_bcthw)
        )
        if picture != clip:
            raise UserError(f"image: is {picture}, but the clip is {clip}; give one of its size")

    def token_timesteps(self, x_bcthw: Tensor, t_b: Tensor, patch: int) -> Tensor:
        """Return t, or with a picture a timestep for each token (b, l): 0 in the first frame."""
        if self.first_bc1hw is None:
            return t_b
        _, _, frames, height, width = x_bcthw.shape
        tokens = height // patch * (width // patch)
        later_l = torch.arange(frames * tokens, device=t_b.device) >= tokens
        return t_b[:, None] * later_l
