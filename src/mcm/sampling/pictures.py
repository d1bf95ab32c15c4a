"""Files of the pictures that a clip follows, for `mcm generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcm.backbones.control import Control
from mcm.data.image import IMAGES, read_image
from mcm.data.video import read_video
from mcm.errors import UserError

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel
    from mcm.sampling.requests import GenerateRequest

Frames = NDArray[np.uint8]


def read_pictures(request: GenerateRequest, model: VideoModel) -> dict[str, Any]:
    """Return what `VideoModel.generate_batch` takes of a request's pictures, in the clip's size.

    Raises:
        UserError: A file cannot be read, or the ControlNet is missing or broken.
    """
    spec, options = model.backbone.spec, request.options()
    size = options["size"] or (spec.height, spec.width)
    found: dict[str, Any] = {}
    if request.image is not None:
        found["image"] = read_image(request.image, size=size)
    if request.control is not None and request.control_frames is not None:
        count = options["frames"] or spec.frames
        frames = read_frames(request.control_frames, count, spec.fps, size)
        pictures = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 255
        dtype = getattr(model.backbone, "dtype", torch.float32)
        found["control"] = Control.load(request.control, pictures, request.control_scale, dtype)
    return found


def read_frames(path: Path, count: int, fps: float, size: tuple[int, int]) -> Frames:
    """Return ``count`` frames, RGB uint8 (t, h, w, 3).

    Args:
        path: A video, a folder with a picture for each frame in the order of their names, or one
            picture for all.
        count: Frames of the clip.
        fps: Frames to take of a second of a video.
        size: (height, width) to crop and resize to.

    Raises:
        UserError: A file cannot be read, or the folder holds another number of pictures.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)
        if len(files) != count:
            raise UserError(
                f"control_frames: {path}: got {len(files)} pictures, expected {count}, one for "
                "each frame of the clip"
            )
        return np.stack([read_image(file, size=size) for file in files])
    if path.suffix.lower() in IMAGES:
        return np.stack([read_image(path, size=size)] * count)
    return read_video(path, frames=count, fps=fps, size=size)
