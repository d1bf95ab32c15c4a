"""What is trained: the teacher, the student, their data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from mcm.fields import (
    Count,
    CountOrZero,
    Device,
    Fraction,
    Name,
    Positive,
    Section,
    Size,
)


class ModelSection(Section):
    """The teacher, and where and in which number format it runs."""

    teacher: Name
    """Name of an embedded teacher (`fluent`), a folder in the layout of diffusers, or
    `OWNER/NAME` or `OWNER/NAME@REVISION` of a hub; a folder of that name wins."""
    adapter: Name | None = None
    """LoRA that the teacher wears, such as the looks of `mcm teacher adapt --rank`: a folder or a
    file; null: none."""
    family: Literal["auto", "animatediff", "modelscope", "wan", "ltx", "cogvideox"] = "auto"
    """Backbone family, which is read from the teacher's folder; any but `auto` is checked."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the frozen weights; `auto` takes the device's best."""
    device: Device = "auto"
    """`auto` (CUDA, then MPS, then XPU, then CPU), `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`."""


class StudentSection(Section):
    """What of the network is trained."""

    mode: Literal["lora", "full"] = "lora"
    """`lora` trains an adapter on the teacher's weights; `full` trains a copy of them."""
    rank: Annotated[int, Field(ge=1, le=4096)] = 64
    """Rank r of the adapter."""
    alpha: Positive = 64.0
    """Adapter scale: the adapter's output is multiplied by alpha / rank."""
    init: Name | Annotated[tuple[Name, ...], Strict(False), Field(min_length=1)] | None = None
    """A student to continue from (name, folder or of a hub); null starts at the teacher.

    A list starts at the sum of its adapters, such as a fast student and the looks that the
    teacher wears; their ranks together are at most `rank`.
    """
    interpolate: Fraction = 1.0
    """How far from its start to where training led the written student is: 1 is all the way.

    Between both a student is often better than either (WiSE-FT, Wortsman et al., 2022, arXiv
    2109.01903), as what a critic overdoes is halved. Clips made while training are of this one.
    """
    init_auxiliary: bool = False
    """Whether the motion head and the critic beside `init` go on as well."""


class DataSection(Section):
    """Cached latents to train on. Paths are relative to the working folder."""

    videos: Name
    """Folder made by `mcm data cache`: video latents with their text states."""
    images: Name | None = None
    """Folder made by `mcm data cache --images`: the critic's real side, and with `--latents` what
    `consistency.image_weight` trains on; null: the videos' own frames."""
    image_batch_size: Count | None = None
    """Images a batch, for critic and `consistency.image_weight`; null: as many as judged frames, or
    without a critic as clips."""
    frames: Count | None = None
    """Frames of a clip in `videos`, which must be so; null: as they are there."""
    fps: Positive | None = None
    """Their frames per second; null: as they are there."""
    size: Size | None = None
    """Their height and width in pixels; null: as they are there.

    `mcm doctor`, which needs no cache, takes the teacher's own for a null.
    """
    workers: CountOrZero = 0
    """Processes that read ahead; 0 reads in the training process."""
    drop_caption: Fraction = 0.0
    """Probability of replacing a caption by the empty one."""
