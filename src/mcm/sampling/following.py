"""Clips that follow pictures: a first frame, or poses, edges or depth for each frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from mcm.backbones.animatediff import AnimateDiff
from mcm.backbones.base import Backbone
from mcm.backbones.control import Control
from mcm.backbones.image_start import ImageStart
from mcm.errors import UserError


@contextmanager
def following(
    backbone: Backbone, image_hwc: NDArray[np.uint8] | None, control: Control | None
) -> Iterator[None]:
    """Let every clip inside start from a picture, or follow pictures frame by frame.

    Args:
        backbone: The model.
        image_hwc: First frame, RGB uint8 of the clip's size; ``None`` for none.
        control: A ControlNet with its pictures; ``None`` for none.

    Raises:
        UserError: The model cannot do so, or the picture or the ControlNet does not fit it.
    """
    with ExitStack() as stack:
        if image_hwc is not None:
            if not isinstance(backbone, ImageStart):
                raise UserError(
                    f"image: this model ({backbone.spec.family}) makes video from text alone; "
                    "image-to-video needs LTX-Video or Wan 2.2 TI2V, and `mcm edit` sets a picture "
                    "in motion with any student"
                )
            pixels = torch.from_numpy(image_hwc.copy()).permute(2, 0, 1).float() / 127.5 - 1
            stack.enter_context(backbone.starting_from(pixels))
        if control is not None:
            if not isinstance(backbone, AnimateDiff):
                raise UserError(
                    f"control: ControlNets guide AnimateDiff alone, and this model is of family "
                    f"{backbone.spec.family}"
                )
            stack.enter_context(backbone.controlled(control))
        yield


def check_windows(backbone: Backbone) -> None:
    """Refuse windows of frames while clips follow pictures.

    Raises:
        UserError: They do.
    """
    followed, most = getattr(backbone, "followed", None), backbone.spec.frames
    if followed is not None:
        raise UserError(
            f"{followed}: clips of more than {most} frames, and loops, are made in windows, each "
            "of which would follow the pictures from their start; ask for a clip of at most "
            f"{most} frames that does not loop"
        )
