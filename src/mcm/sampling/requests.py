"""What `mcm generate` was asked for, and the jobs it comes to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcm.checks import check_text
from mcm.errors import UserError
from mcm.media.places import check_free, is_whole, outputs_of
from mcm.media.save import FORMATS, check_alpha, find_format
from mcm.sampling.options import check_prompt, check_seed, check_steps
from mcm.sampling.prompts_file import Job, read_prompts

_LONGEST_SLUG, _MOST_SLUG_BYTES = 60, 180


@dataclass(frozen=True)
class GenerateRequest:
    """The options of `mcm generate`; `None` is the model's own value.

    Attributes:
        prompt: What the video shows; or give ``prompts_file``.
        prompts_file: Text file with a prompt per line, or CSV or JSONL with the columns prompt
            and, if wanted, seed, steps, output.
        model: Student or teacher: an embedded name or a folder.
        steps: Network steps, 1 to 50.
        seed: Seed of the first clip; the next one's is one more.
        output: File for one clip, folder for many.
        guidance: Guidance scale, 1 for none.
        sampler: Name of a sampler.
        format: One of `mcm.media.FORMATS`; by default the output's ending says it, or mp4.
        frames: Frames of a clip.
        size: ``WIDTHxHEIGHT`` in pixels.
        negative_prompt: What guidance steers away from.
        stochasticity: How much of the noise between a student's steps is fresh, 0 to 1.
        loop: Make the last frame lead on to the first.
        alpha: Make the plain background transparent; for `frames`, `webp` and `sheet`.
        image: Picture that the clips start from.
        control: ControlNet to follow: its folder, or its name on a hub.
        control_frames: What it follows: a video, a folder of pictures, or a picture.
        control_scale: How strictly, from 0; 1 is the ControlNet's own measure.
        batch_size: Clips generated together.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps` or `xpu`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        overwrite: Replace existing files.
        skip_existing: Leave clips that are there as they are, and make the others.
    """

    prompt: str | None = None
    prompts_file: Path | None = None
    model: str = "fluent-mcm"
    steps: int | None = None
    seed: int = 0
    output: Path | None = None
    guidance: float | None = None
    sampler: str | None = None
    format: str | None = None
    frames: int | None = None
    size: str | None = None
    negative_prompt: str = ""
    stochasticity: float | None = None
    loop: bool = False
    alpha: bool = False
    image: Path | None = None
    control: str | None = None
    control_frames: Path | None = None
    control_scale: float = 1.0
    batch_size: int = 1
    device: str = "auto"
    dtype: str = "auto"
    overwrite: bool = False
    skip_existing: bool = False

    def options(self) -> dict[str, Any]:
        """Return what all clips share, as `VideoModel.generate_batch` takes it."""
        return {
            "guidance": self.guidance,
            "sampler": self.sampler,
            "frames": self.frames,
            "size": None if self.size is None else parse_size(self.size),
            "negative_prompt": self.negative_prompt,
            "stochasticity": self.stochasticity,
            "loop": self.loop,
        }


def plan_jobs(request: GenerateRequest) -> list[Job]:
    """Turn a request into jobs with a place each, which is free, or holds the clip already.

    Raises:
        UserError: There is no prompt, a prompt or value is wrong, or a place is taken.
    """
    _check_pictures(request)
    jobs = [_placed(job, request) for job in _asked_for(request)]
    _check_apart(jobs)
    return [_free(job, request) for job in jobs]


def _check_apart(jobs: Sequence[Job]) -> None:
    """Check that no clip is written over or into another one.

    Raises:
        UserError: Two are.
    """
    owners: dict[Path, Job] = {}
    places = [
        (output.resolve(), job) for job in jobs for output in outputs_of(job.path, job.format)
    ]
    for place, job in places:
        if place in owners:
            raise UserError(
                f"output: {place} is the place of two clips ({owners[place].prompt!r} and "
                f"{job.prompt!r}); give them different seeds or outputs"
            )
        owners[place] = job
    for place, job in places:
        above = next((folder for folder in place.parents if folder in owners), None)
        if above is not None:
            raise UserError(
                f"output: {place} ({job.prompt!r}) lies inside {above}, the place of another clip "
                f"({owners[above].prompt!r}); give them outputs beside each other"
            )


def _free(job: Job, request: GenerateRequest) -> Job:
    """Check a job's place, or mark the job as made if its clip may stay there."""
    if request.skip_existing and is_whole(job.path, job.format):
        return replace(job, is_made=True)
    check_free(job.path, job.format, request.overwrite)
    return job


def _check_pictures(request: GenerateRequest) -> None:
    """Look whether the files of a request are there.

    Raises:
        UserError: One is not, or a ControlNet comes without pictures or pictures without it.
    """
    if (request.control is None) != (request.control_frames is None):
        raise UserError(
            "control: a ControlNet and its pictures go together; give --control and "
            "--control-frames"
        )
    for field, path in (("image", request.image), ("control_frames", request.control_frames)):
        if path is not None and not path.exists():
            raise UserError(f"{field}: {path}: no such file")


def parse_size(text: str) -> tuple[int, int]:
    """Turn ``WIDTHxHEIGHT`` into (height, width).

    Raises:
        UserError: It is not two whole numbers.
    """
    match = re.fullmatch(r"(\d+)[x×](\d+)", text.strip().lower())
    if match is None:
        raise UserError(f"size: got {text!r}, expected WIDTHxHEIGHT in pixels, such as 128x128")
    width, height = match.groups()
    return int(height), int(width)


def slug(prompt: str) -> str:
    """Return a prompt as part of a file name: letters, digits, hyphens; at most 60, 180 bytes."""
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")
    start = words[:_LONGEST_SLUG].encode()[:_MOST_SLUG_BYTES].decode(errors="ignore")
    return start.strip("-_") or "clip"


def _asked_for(request: GenerateRequest) -> list[Job]:
    if (request.prompt is None) == (request.prompts_file is None):
        raise UserError("prompt: give either a prompt or --prompts-file")
    if request.batch_size < 1:
        raise UserError(f"batch_size: got {request.batch_size}, expected 1 or more")
    if request.overwrite and request.skip_existing:
        raise UserError(
            "overwrite, skip_existing: give one of them; both say what becomes of a clip"
        )
    check_text(request.negative_prompt, "negative_prompt")
    if request.prompts_file is not None:
        jobs = read_prompts(request.prompts_file, request.seed)
    else:
        jobs = [Job(check_prompt(request.prompt or ""), check_seed(request.seed))]
    if request.steps is not None:
        check_steps(request.steps)
    return [job if job.steps else replace(job, steps=request.steps) for job in jobs]


def _placed(job: Job, request: GenerateRequest) -> Job:
    """Choose a job's path: its own output, the request's file, or a name in its folder."""
    output, many = request.output, request.prompts_file is not None
    folder = output if output is not None and (many or _is_folder(output, request)) else Path()
    if job.output is not None:
        path = folder / job.output
    elif output is not None and folder != output:
        path = output
    else:
        kind = request.format or "mp4"
        if kind not in FORMATS:
            find_format(folder, kind)
        path = folder / f"{slug(job.prompt)}-{job.seed}{FORMATS[kind]}"
    kind = find_format(path, request.format)
    if request.alpha:
        check_alpha(kind)
    return replace(job, output=path, format=kind)


def _is_folder(output: Path, request: GenerateRequest) -> bool:
    """Whether a single clip's output is a folder to put it in, not the place itself."""
    if request.format == "frames":
        return False
    return output.is_dir() or not output.suffix
