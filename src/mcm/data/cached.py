"""Read a cache: samples by number, straight from memory-mapped files; no encoder is needed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.data.cache_files import (
    Encoder,
    captions_file,
    check_identity,
    load_index,
    read_names,
    samples_file,
)
from mcm.data.cache_jobs import to_signed
from mcm.errors import UserError

_OPEN_FILES = 128


@dataclass(frozen=True)
class VideoBatch:
    """A batch of cached videos, in float32 on the CPU.

    Attributes:
        latents_bcthw: Scaled latents.
        condition: Text states of the captions.
        frames_bl3hw: The frames that were kept, in [-1, 1]; `None` when none were.
        frame_indices_bl: Their places in the clips.
        captions: The captions.
        keys: The samples' keys.
    """

    latents_bcthw: Tensor
    condition: Condition
    frames_bl3hw: Tensor | None
    frame_indices_bl: Tensor | None
    captions: list[str]
    keys: list[str]


@dataclass(frozen=True)
class ImageBatch:
    """A batch of cached images, in float32 on the CPU.

    Attributes:
        pixels_b3hw: Pixels in [-1, 1].
        condition: Text states of the captions.
        latents_bcthw: Scaled latents with t = 1; `None` when they were not cached.
        captions: The captions.
        keys: The samples' keys.
    """

    pixels_b3hw: Tensor
    condition: Condition
    latents_bcthw: Tensor | None
    captions: list[str]
    keys: list[str]


@dataclass(frozen=True)
class _Row:
    file: Path
    row: int


class _Cached:
    """What caches of videos and of images share."""

    def __init__(self, folder: str | Path, kind: Literal["videos", "images"]) -> None:
        self.folder = Path(folder)
        self.index = load_index(self.folder)
        found = self.index.settings["kind"]
        if found != kind:
            raise UserError(f"{folder}: a cache of {found}, expected one of {kind}")
        if not self.index.complete:
            raise UserError(
                f"{folder}: the cache is not finished ({self.index.samples} samples so far); "
                f"run `mcm data cache` again to continue, or with a limit to end it here"
            )
        self._sample_ends = list(accumulate(shard.samples for shard in self.index.shards))
        self._caption_ends = list(accumulate(shard.captions for shard in self.index.shards))

    def __len__(self) -> int:
        return self._sample_ends[-1]

    def check_backbone(self, backbone: Encoder) -> None:
        """Raise when the cache was made with another backbone.

        Raises:
            UserError: Names both backbones.
        """
        check_identity(self.folder, self.index, backbone)

    def unconditional(self, count: int = 1) -> Condition:
        """Return the text states of the empty caption, `count` times without copying."""
        return self._condition([0]).expand(count)

    def _samples(self, indices: Sequence[int]) -> list[_Row]:
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"sample {index} of a cache of {len(self)}")
        shards = [_find(self._sample_ends, index) for index in indices]
        return [_Row(samples_file(self.folder, shard), row) for shard, row in shards]

    def _captions(self, rows: Sequence[int]) -> list[_Row]:
        shards = [_find(self._caption_ends, row) for row in rows]
        return [_Row(captions_file(self.folder, shard), row) for shard, row in shards]

    def _text(self, samples: Sequence[_Row]) -> tuple[Condition, list[str], list[str]]:
        rows = [int(value) for value in _gather(samples, "caption")]
        captions = [_names(row.file)[row.row] for row in self._captions(rows)]
        return self._condition(rows), captions, [_names(row.file)[row.row] for row in samples]

    def _condition(self, rows: Sequence[int]) -> Condition:
        places = self._captions(rows)
        tokens, pooled = _gather(places, "tokens").float(), _gather(places, "pooled").float()
        return Condition(tokens, pooled, _gather(places, "mask") if _has(places, "mask") else None)


class CachedVideos(_Cached):
    """A cache of videos.

    Args:
        folder: What `mcm.data.cache.cache_videos` made.

    Raises:
        UserError: There is no finished cache of videos.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "videos")

    def batch(self, indices: Sequence[int]) -> VideoBatch:
        """Return samples by number; raises `IndexError` outside 0 … len − 1."""
        rows = self._samples(indices)
        condition, captions, keys = self._text(rows)
        kept = _has(rows, "frames")
        return VideoBatch(
            latents_bcthw=_gather(rows, "latents").float(),
            condition=condition,
            frames_bl3hw=_signed_channels_first(_gather(rows, "frames")) if kept else None,
            frame_indices_bl=_gather(rows, "frame_indices") if kept else None,
            captions=captions,
            keys=keys,
        )


class CachedImages(_Cached):
    """A cache of images.

    Args:
        folder: What `mcm.data.cache.cache_images` made.

    Raises:
        UserError: There is no finished cache of images.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "images")

    def batch(self, indices: Sequence[int]) -> ImageBatch:
        """Return samples by number; raises `IndexError` outside 0 … len − 1."""
        rows = self._samples(indices)
        condition, captions, keys = self._text(rows)
        return ImageBatch(
            pixels_b3hw=_signed_channels_first(_gather(rows, "pixels")),
            condition=condition,
            latents_bcthw=_gather(rows, "latents").float() if _has(rows, "latents") else None,
            captions=captions,
            keys=keys,
        )


def _find(ends: Sequence[int], index: int) -> tuple[int, int]:
    """Return shard and row of a number, given the running totals of the shards."""
    shard = bisect_right(ends, index)
    return shard, index - (ends[shard - 1] if shard else 0)


def _signed_channels_first(pixels: Tensor) -> Tensor:
    return to_signed(pixels.movedim(-1, -3)).contiguous()


def _gather(rows: Sequence[_Row], name: str) -> Tensor:
    slices = [_open(row.file).get_slice(name)[row.row : row.row + 1] for row in rows]
    return torch.cat(slices)


def _has(rows: Sequence[_Row], name: str) -> bool:
    return name in _open(rows[0].file).keys()  # noqa: SIM118 - not a mapping


@lru_cache(maxsize=_OPEN_FILES)
def _open(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise UserError(f"{file}: damaged ({error}); make the cache again") from None


@lru_cache(maxsize=_OPEN_FILES)
def _names(file: Path) -> list[str]:
    return read_names(_open(file))
