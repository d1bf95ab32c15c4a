import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcm.backbones.base import BackboneSpec, Condition
from mcm.data.samples import Sample, SampleError

GREY_STEP = 12


def grey_frames(
    count: int, height: int = 48, width: int = 64, step: int = GREY_STEP
) -> NDArray[np.uint8]:
    """Frame k is grey level k · step everywhere: its number can be read off."""
    levels = (np.arange(count) * step).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


@dataclass(frozen=True)
class VideoMaker:
    """Writes real videos with PyAV."""

    folder: Path

    def __call__(
        self,
        name: str,
        frames_thwc: NDArray[np.uint8],
        fps: int = 8,
        *,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        times_ms: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=fps if times_ms is None else 1000)
            stream.height, stream.width = frames_thwc.shape[1:3]
            stream.pix_fmt = pix_fmt
            for number, pixels in enumerate(frames_thwc):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = number if times_ms is None else times_ms[number]
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path


@pytest.fixture
def make_video(tmp_path: Path) -> VideoMaker:
    return VideoMaker(tmp_path)


@pytest.fixture(scope="session")
def frame_numbers() -> Callable[[NDArray[np.uint8]], list[int]]:
    """Read the numbers off the frames of `grey_frames`."""

    def read(frames_thwc: NDArray[np.uint8]) -> list[int]:
        return [round(float(frame.mean()) / GREY_STEP) for frame in frames_thwc]

    return read


@pytest.fixture(scope="session")
def greys() -> Callable[..., NDArray[np.uint8]]:
    return grey_frames


@pytest.fixture(scope="session")
def turn_clockwise() -> Callable[[Path], None]:
    """Write a display matrix of 90° clockwise into an mp4's track header."""

    def turn(path: Path) -> None:
        content = path.read_bytes()
        matrix = content.index(b"tkhd") + 4 + 4 + 20 + 16
        turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
        path.write_bytes(content[:matrix] + turned + content[matrix + 36 :])

    return turn


class StandInBackbone:
    """Latents are means of 8×8 pixels, text states come from a hash of the prompt."""

    def __init__(self, weights: str = "a1b2") -> None:
        self.weights = weights
        self.encoded_videos = 0
        self.encoded_prompts: list[str] = []
        self.fail_after: int | None = None
        self.scale = 1.0
        self.spec = BackboneSpec(
            family="standin",
            prediction="v",
            latent_channels=3,
            spatial_factor=8,
            temporal_factor=1,
            frames=4,
            height=16,
            width=24,
            fps=8,
            guidance_range=(1.0, 2.0),
            guidance=2.0,
            lora_targets=("to_q",),
            max_tokens=4,
        )

    def fingerprint(self) -> dict[str, Any]:
        return {"vae": self.weights, "text_encoder": "c3d4"}

    def encode_video(self, video_bcthw: Tensor) -> Tensor:
        if self.fail_after is not None and self.encoded_videos >= self.fail_after:
            raise KeyboardInterrupt
        self.encoded_videos += video_bcthw.shape[0]
        return self.scale * torch.nn.functional.avg_pool3d(video_bcthw, (1, 8, 8))

    def decode_frames(self, latents_bcthw: Tensor) -> Tensor:
        blocks = latents_bcthw.repeat_interleave(8, 3).repeat_interleave(8, 4)
        return blocks.transpose(1, 2) / self.scale

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        self.encoded_prompts += prompts
        seeds = [hashlib.sha256(prompt.encode()).digest()[:6] for prompt in prompts]
        draws = [torch.Generator().manual_seed(int.from_bytes(seed)) for seed in seeds]
        tokens = torch.stack([torch.randn(4, 5, generator=draw) for draw in draws])
        return Condition(tokens, tokens.mean(1))

    def cut_prompt(self, prompt: str) -> str:
        return " ".join(prompt.split()[self.spec.max_tokens :])


@pytest.fixture
def backbone() -> StandInBackbone:
    return StandInBackbone()


@pytest.fixture
def other_backbone() -> StandInBackbone:
    return StandInBackbone(weights="ffff")


class ListSource:
    """Samples out of a list."""

    def __init__(self, items: Sequence[Sample | SampleError]) -> None:
        self.items = list(items)

    def __iter__(self) -> Iterator[Sample | SampleError]:
        return iter(self.items)

    def length(self) -> int | None:
        return len(self.items)


@pytest.fixture
def list_source() -> type[ListSource]:
    return ListSource
