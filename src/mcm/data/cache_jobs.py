"""What one sample becomes in a cache: of a video, and of an image."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from mcm.data.cache_files import Encoder
from mcm.data.grey import Window
from mcm.data.image import read_image
from mcm.data.resize import CENTRE, Pixels
from mcm.data.samples import Sample
from mcm.data.video import clip_seconds, probe_video, read_video
from mcm.errors import UserError

Place = Literal["start", "centre", "random"]
Crop = Literal["centre", "random"]
StorageType = Literal["float16", "bfloat16"]
_STORAGE: dict[StorageType, torch.dtype] = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Loaded:
    """A sample with its pixels, uint8 (t h w 3); an image has t = 1."""

    sample: Sample
    pixels_thwc: Pixels


class Job(Protocol):
    """How samples are read and encoded; equal settings give equal caches."""

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values that a resumed run must share."""

    @property
    def dtype(self) -> StorageType:
        """Number format of latents and text states."""

    def load(self, sample: Sample) -> Loaded:
        """Read the pixels; raises `SampleError`."""

    def encode(self, batch: Sequence[Loaded], backbone: Encoder) -> dict[str, Tensor]:
        """Return what is stored of a batch, by name, one row a sample."""


@dataclass(frozen=True)
class VideoJob:
    """Clips: latents, and a few of their frames where `keep_frames` asks for them."""

    frames: int
    fps: float | None
    frame_interval: int
    size: tuple[int, int]
    clip: Place
    crop: Crop
    keep_frames: int
    seed: int
    dtype: StorageType
    window: Window | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values that a resumed run must share."""
        return _settings("videos", self)

    def load(self, sample: Sample) -> Loaded:
        """Read the clip of a sample, at the place and crop that the seed and its file give."""
        pixels = read_video(
            sample.media,
            frames=self.frames,
            fps=self.fps,
            frame_interval=self.frame_interval,
            start=self._start(sample),
            size=self.size,
            anchor=_anchor(self.crop, self.seed, sample),
            window=self.window,
            file=sample.file,
        )
        return Loaded(sample, pixels)

    def encode(self, batch: Sequence[Loaded], backbone: Encoder) -> dict[str, Tensor]:
        """Return `latents` (b c t h w), and `frames` (b k h w 3) with `frame_indices` (b k)."""
        result = {"latents": to_storage(_encoded(batch, backbone), self.dtype, "latents")}
        if self.keep_frames:
            indices = [self._kept(loaded.sample) for loaded in batch]
            kept = [loaded.pixels_thwc[k] for loaded, k in zip(batch, indices, strict=True)]
            result["frames"] = torch.from_numpy(np.stack(kept))
            result["frame_indices"] = torch.tensor(indices)
        return result

    def _start(self, sample: Sample) -> float:
        if self.clip == "start":
            return 0.0
        info = probe_video(sample.media, file=sample.file)
        needed = clip_seconds(self.frames, self.fps, self.frame_interval, info.fps)
        room = info.duration - needed - (1 / info.fps if info.fps else 0.0)
        position = 0.5 if self.clip == "centre" else _draw("clip", self.seed, sample).random()
        return max(0.0, position * room)

    def _kept(self, sample: Sample) -> list[int]:
        draw = _draw("frames", self.seed, sample)
        return sorted(draw.sample(range(self.frames), self.keep_frames))


@dataclass(frozen=True)
class ImageJob:
    """Images: pixels, perhaps as the autoencoder gives them back, and latents if asked for."""

    size: tuple[int, int]
    crop: Crop
    latents: bool
    seed: int
    dtype: StorageType
    window: Window | None = None
    reconstruct: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values that a resumed run must share."""
        return _settings("images", self)

    def load(self, sample: Sample) -> Loaded:
        """Read an image as a clip of one frame."""
        anchor = _anchor(self.crop, self.seed, sample)
        pixels = read_image(
            sample.media, size=self.size, anchor=anchor, window=self.window, file=sample.file
        )
        return Loaded(sample, pixels[None])

    def encode(self, batch: Sequence[Loaded], backbone: Encoder) -> dict[str, Tensor]:
        """Return `pixels` (b h w 3), and perhaps `latents` (b c 1 h w)."""
        result = {"pixels": torch.from_numpy(np.stack([item.pixels_thwc[0] for item in batch]))}
        if not (self.latents or self.reconstruct):
            return result
        latents = _encoded(batch, backbone)
        if self.latents:
            result["latents"] = to_storage(latents, self.dtype, "latents")
        if self.reconstruct:
            result["pixels"] = _decoded(latents, backbone)
        return result


def _settings(kind: str, job: VideoJob | ImageJob) -> dict[str, Any]:
    """Return a job's values as JSON reads them back; the last two only where they are set."""
    pairs = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(job).items()}
    rare = ("window", "reconstruct")
    return {"kind": kind, **{name: v for name, v in pairs.items() if name not in rare or v}}


def to_storage(values: Tensor, dtype: StorageType, name: str) -> Tensor:
    """Return a tensor on the CPU in a half-width format.

    Raises:
        UserError: A value is not finite in that format.
    """
    stored = values.detach().to("cpu", _STORAGE[dtype])
    if not stored.isfinite().all():
        advice = "use dtype bfloat16" if dtype == "float16" else "check the backbone's weights"
        raise UserError(f"{name}: the encoder gave a value that {dtype} cannot hold; {advice}")
    return stored


def to_bytes(pixels: Tensor) -> Tensor:
    """Return floats in [-1, 1] as uint8 pixels; what lies outside is cut."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte()


def to_signed(pixels: Tensor) -> Tensor:
    """Return uint8 pixels as floats: x / 127.5 − 1 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def _decoded(latents_bc1hw: Tensor, backbone: Encoder) -> Tensor:
    """Return images (b h w 3) as the autoencoder gives them back."""
    with torch.no_grad():
        pixels_b13hw = backbone.decode_frames(latents_bc1hw)
    return to_bytes(pixels_b13hw[:, 0].float().cpu()).permute(0, 2, 3, 1).contiguous()


def _encoded(batch: Sequence[Loaded], backbone: Encoder) -> Tensor:
    pixels_bthwc = torch.from_numpy(np.stack([loaded.pixels_thwc for loaded in batch]))
    video_bcthw = to_signed(pixels_bthwc).permute(0, 4, 1, 2, 3).contiguous()
    with torch.no_grad():
        return backbone.encode_video(video_bcthw)


def _anchor(crop: Crop, seed: int, sample: Sample) -> tuple[float, float]:
    draw = _draw("crop", seed, sample)
    return (draw.random(), draw.random()) if crop == "random" else CENTRE


def _draw(purpose: str, seed: int, sample: Sample) -> random.Random:
    """Return a generator that depends on nothing but its purpose, the seed and the file."""
    return random.Random(f"{purpose}/{seed}/{sample.file}")
