"""The work of `mcm edit`: read a video or a first frame, edit it, write it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from mcm.checks import check_frames, check_start
from mcm.data.image import IMAGES, read_image
from mcm.data.resize import BLACK
from mcm.data.video import read_video
from mcm.errors import UserError
from mcm.media.places import check_free
from mcm.media.save import find_format
from mcm.safety import guard
from mcm.sampling.loading import load
from mcm.sampling.options import check_prompt, check_seed
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.telling import warnings_to


@dataclass(frozen=True)
class EditRequest:
    """The options of `mcm edit`.

    Attributes:
        source: Video, or an image that becomes the first frame of a clip.
        prompt: What it shall show.
        output: File to write.
        model: Student.
        strength: How much may change, 0 to 1.
        steps: Network steps, of which a small strength leaves fewer; the model's own by default.
        seed: Seed of the noise.
        mask: Image, white where the video may change.
        start: Second of the video to begin with.
        frames: Frames to edit; the model's own number by default.
        overwrite: Replace an existing file.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps` or `xpu`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        format: One of `mcm.media.FORMATS`; by default the output's ending says it.
    """

    source: Path
    prompt: str
    output: Path
    model: str = "fluent-mcm"
    strength: float = 0.6
    steps: int | None = None
    seed: int = 0
    mask: Path | None = None
    start: float = 0.0
    frames: int | None = None
    overwrite: bool = False
    device: str = "auto"
    dtype: str = "auto"
    format: str | None = None


def edit_file(request: EditRequest, stream: TextIO | None = None) -> Path:
    """Edit a file and return the one written.

    Raises:
        UserError: A value is wrong, the source cannot be read, or the output exists.
    """
    format = find_format(request.output, request.format)
    check_free(request.output, format, request.overwrite)
    check_start(request.start)
    check_seed(request.seed)
    if not request.source.is_file():
        raise UserError(f"{request.source}: no such video or image")
    guard.check_prompt(check_prompt(request.prompt))
    stream = stream or sys.stderr
    model = load(request.model, request.device, request.dtype)
    with warnings_to(stream):
        clip = model.edit(
            read_source(request.source, model, request.start, request.frames),
            request.prompt,
            strength=request.strength,
            mask_hw=None if request.mask is None else read_mask(request.mask, model),
            seed=request.seed,
            steps=request.steps,
        )
    edited = replace(clip, source=request.source)
    path = edited.save(request.output, format=format, overwrite=request.overwrite)
    parts = ", ".join(f"{name} {value:.2f}" for name, value in clip.timings.items())
    print(f"{path.name}: {clip.seconds:.2f} s ({parts})", file=stream)
    return path


def read_source(
    path: Path, model: VideoModel, start: float = 0.0, frames: int | None = None
) -> NDArray[np.uint8]:
    """Return the frames to edit in the model's size and rate; an image is a clip that stands.

    Raises:
        UserError: The file cannot be read, the video is too short, or a number is out of range.
    """
    start, spec = check_start(start), model.backbone.spec
    count = spec.frames if frames is None else check_frames(frames, spec.frame_step)
    is_image = path.suffix.lower() in IMAGES
    return read_frames(path, is_image, count, spec.fps, (spec.height, spec.width), start)


def read_frames(
    source: Path | bytes,
    is_image: bool,
    count: int,
    fps: float,
    size: tuple[int, int],
    start: float = 0.0,
) -> NDArray[np.uint8]:
    """Return ``count`` frames of a file or its content, cropped and resampled to (height, width).

    Raises:
        UserError: The file cannot be read, or the video is too short.
    """
    if is_image:
        return np.stack([read_image(source, size=size)] * count)
    return read_video(source, frames=count, fps=fps, start=start, size=size)


def read_mask(path: Path, model: VideoModel) -> NDArray[np.bool_]:
    """Return where a mask is white, in the model's size; what is transparent in it is black."""
    spec = model.backbone.spec
    pixels = read_image(path, size=(spec.height, spec.width), ground=BLACK)
    return np.asarray(pixels.mean(axis=2) >= 128, dtype=np.bool_)
