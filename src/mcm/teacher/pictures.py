"""Pictures of one's own data, for a decoder to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mcm.backbones.base import BackboneSpec
from mcm.data.image import IMAGES, read_image
from mcm.data.samples import Sample, SampleError, SkipReport
from mcm.data.sources import open_source
from mcm.data.video import read_video
from mcm.errors import UserError
from mcm.progress import progress

Pixels = NDArray[np.uint8]

MOST_PICTURES = 6000
_FRAMES_PER_VIDEO = 4


class Crops(Dataset[Tensor]):
    """Batches of square crops of pictures; batch ``n`` is always the same.

    Each item is (b, 3, side, side) in [-1, 1].

    Args:
        pictures_nhwc: What to cut from.
        side: Of the crops.
        grid: Pixels that their places are multiples of: those of one latent position.
        batch_size: Crops in a batch.
    """

    def __init__(self, pictures_nhwc: Pixels, side: int, grid: int, batch_size: int = 16) -> None:
        self.pictures_nhwc, self.side, self.grid = pictures_nhwc, side, grid
        self.batch_size = batch_size

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, number: int) -> Tensor:
        rng = np.random.default_rng((number, 13))
        count, *size = self.pictures_nhwc.shape[:3]
        crops = []
        for _ in range(self.batch_size):
            picture = self.pictures_nhwc[rng.integers(count)]
            top, left = (self.grid * rng.integers((s - self.side) // self.grid + 1) for s in size)
            crops.append(picture[top : top + self.side, left : left + self.side])
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def read_pictures(places: Sequence[Path], spec: BackboneSpec) -> Pixels:
    """Return pictures of a model's size, uint8 (n, h, w, 3): images, and frames of videos.

    Args:
        places: What `mcm data cache` takes: folders of videos or images with captions, or shards.
            At most ``MOST_PICTURES`` are read, an equal share of each.
        spec: Size, length and rate of the model's clips.

    Raises:
        UserError: A place is no data, or more than half of it cannot be read.
    """
    share = MOST_PICTURES // len(places)
    return np.concatenate([_read_place(place, spec, share) for place in places])


def _read_place(place: Path, spec: BackboneSpec, most: int) -> Pixels:
    source, report = open_source(place), SkipReport()
    found: list[Pixels] = []
    with progress(f"read {place}", source.length()) as bar:
        for sample in report.only_good(source):
            bar.advance()
            try:
                found += list(_read(sample, spec))
            except SampleError as error:
                report.skip(error)
            if len(found) >= most:
                break
    if not found:
        raise UserError(f"{place}: holds no readable video or image with a caption")
    return np.stack(found[:most])


def _read(sample: Sample, spec: BackboneSpec) -> Pixels:
    size = spec.height, spec.width
    if f".{sample.suffix}" in IMAGES:
        return read_image(sample.media, size=size, file=sample.file)[None]
    frames = read_video(sample.media, frames=spec.frames, fps=spec.fps, size=size, file=sample.file)
    return frames[:: max(spec.frames // _FRAMES_PER_VIDEO, 1)]
