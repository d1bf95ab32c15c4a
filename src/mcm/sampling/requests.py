"""What `mcm generate` was asked for, and the jobs it comes to."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcm.errors import UserError, nearest
from mcm.media.places import check_free
from mcm.media.save import FORMATS, check_alpha, find_format
from mcm.sampling.options import check_prompt, check_steps

_COLUMNS = ("prompt", "seed", "steps", "output")
_LONGEST_SLUG = 60


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


@dataclass(frozen=True)
class Job:
    """One clip to make.

    Attributes:
        prompt: What it shows.
        seed: Its seed.
        steps: Network steps, or `None` for the model's own.
        output: Where it goes; `None` until a place is chosen.
        format: How it is written.
    """

    prompt: str
    seed: int
    steps: int | None = None
    output: Path | None = None
    format: str = "mp4"

    @property
    def path(self) -> Path:
        """Where the clip goes."""
        assert self.output is not None
        return self.output


def plan_jobs(request: GenerateRequest) -> list[Job]:
    """Turn a request into jobs with a free path each.

    Raises:
        UserError: There is no prompt, a prompt or value is wrong, or a path is taken.
    """
    _check_pictures(request)
    jobs = [_placed(job, request) for job in _asked_for(request)]
    seen: dict[Path, str] = {}
    for job in jobs:
        if job.path in seen:
            raise UserError(
                f"output: {job.path} is the place of two clips ({seen[job.path]!r} and "
                f"{job.prompt!r}); give them different seeds or outputs"
            )
        seen[job.path] = job.prompt
        check_free(job.path, job.format, request.overwrite)
    return jobs


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
    """Return a prompt as part of a file name: letters, digits, hyphens, at most 60."""
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")
    return words[:_LONGEST_SLUG].strip("-_") or "clip"


def read_prompts(file: Path, first_seed: int) -> list[Job]:
    """Read the jobs of a prompts file (txt, csv or jsonl).

    Raises:
        UserError: The file is missing, empty or malformed; names the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{file}: no such prompts file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file in UTF-8") from None
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    rows = list(readers.get(file.suffix.lower(), _text_rows)(text, file))
    if not rows:
        raise UserError(f"{file}: holds no prompt; write one per line")
    return [
        _job(row, first_seed + number, f"{file}, line {line}")
        for number, (line, row) in enumerate(rows)
    ]


def _asked_for(request: GenerateRequest) -> list[Job]:
    if (request.prompt is None) == (request.prompts_file is None):
        raise UserError("prompt: give either a prompt or --prompts-file")
    if request.batch_size < 1:
        raise UserError(f"batch_size: got {request.batch_size}, expected 1 or more")
    if request.prompts_file is not None:
        jobs = read_prompts(request.prompts_file, request.seed)
    else:
        jobs = [Job(check_prompt(request.prompt or ""), request.seed)]
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


def _text_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, {"prompt": line}


def _csv_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="more columns than the header")
    _check_columns(reader.fieldnames or (), f"{file}, line 1")
    for row in reader:
        yield reader.line_num, {key: value for key, value in row.items() if value}


def _jsonl_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{file}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UserError(f"{file}, line {number}: got {line!r:.60}, expected an object")
        yield number, row


def _check_columns(names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in _COLUMNS:
            guess = nearest(name, _COLUMNS)
            hint = f"; did you mean {guess}?" if guess else ""
            raise UserError(f"{where}: {name!r} is unknown; expected {', '.join(_COLUMNS)}{hint}")


def _job(row: Mapping[str, Any], seed: int, where: str) -> Job:
    _check_columns(list(row), where)
    steps = row.get("steps")
    return Job(
        prompt=check_prompt(str(row.get("prompt") or ""), f"{where}: prompt"),
        seed=_whole(row.get("seed", seed), f"{where}: seed"),
        steps=None if steps is None else check_steps(_whole(steps, where), f"{where}: steps"),
        output=Path(row["output"]) if row.get("output") else None,
    )


def _whole(value: object, where: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise UserError(f"{where}: got {value!r}, expected a whole number") from None
