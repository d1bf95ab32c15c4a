"""The work of `mcm generate`: load a model, make every clip, write it, tell the times."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mcm.errors import IncompleteError, UserError
from mcm.safety.guard import Refused, check_prompt
from mcm.sampling.clip import Clip
from mcm.sampling.prompts_file import Job
from mcm.sampling.requests import GenerateRequest, plan_jobs
from mcm.sampling.telling import warnings_to

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel


def generate_files(
    request: GenerateRequest,
    stream: TextIO | None = None,
    done: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Make the clips of a request.

    Progress, warnings and one line of timings per clip go to ``stream``. Everything that can
    be checked is checked before the model is loaded; each clip is on disk before the next batch.
    Where there are several, one that cannot be shown or written does not keep the others from it.

    Args:
        request: What to make.
        stream: Where to report; standard error if not given.
        done: Called with each file as soon as it is written.

    Returns:
        The files written, or folders for the format `frames`.

    Raises:
        UserError: A value is wrong, or an output exists and ``overwrite`` is off.
        Refused: The policy of `mcm.safety` does not allow a prompt, or the only clip.
        IncompleteError: Some of several clips were refused, or could not be cut out; names them.
        OSError: The disk is full or a folder cannot be written; clips made before stay.
    """
    stream = stream or sys.stderr
    planned, options = plan_jobs(request), request.options()
    jobs = [job for job in planned if not job.is_made]
    for job in jobs:
        check_prompt(job.prompt)
    if len(jobs) < len(planned):
        left = len(planned) - len(jobs)
        print(f"{left} of {len(planned)} clips exist already and stay as they are", file=stream)
    if not jobs:
        return []
    model = _load(request, stream)
    if request.image is not None or request.control is not None:
        from mcm.sampling.pictures import read_pictures

        options |= read_pictures(request, model)
    paths: list[Path] = []
    failed: list[str] = []
    for batch in _batches(jobs, request.batch_size):
        label = f"clip {len(paths) + len(failed) + 1}/{len(jobs)}"
        clips = _generate(model, batch, options, label, stream)
        for job, clip in zip(batch, clips, strict=True):
            try:
                paths.append(_write(job, clip, request, stream))
            except UserError as error:
                if len(planned) == 1:
                    raise
                failed.append(f"{job.path} ({job.prompt!r}, seed {job.seed}): {error}")
                print(f"mcm: not made: {failed[-1]}", file=stream)
            else:
                done(paths[-1])
    if failed:
        rows = "\n".join(f"  {row}" for row in failed)
        raise IncompleteError(f"{len(failed)} of {len(jobs)} clips could not be made:\n{rows}")
    return paths


def _load(request: GenerateRequest, stream: TextIO) -> VideoModel:
    start = time.perf_counter()
    from mcm.sampling.loading import load

    with warnings_to(stream):
        model = load(request.model, request.device, request.dtype)
    print(f"{model.name} loaded in {time.perf_counter() - start:.2f} s", file=stream)
    return model


def _batches(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """Yield runs of jobs that can be made together: of equal steps, at most ``size``."""
    for _, group in itertools.groupby(jobs, key=lambda job: job.steps):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _generate(
    model: VideoModel, batch: Sequence[Job], options: dict[str, Any], label: str, stream: TextIO
) -> list[Clip | Refused]:
    from mcm.sampling.batch import make_batch

    def show(step: int, steps: int, _: object) -> None:
        if stream.isatty():
            end = "\r\033[K" if step == steps else ""
            print(f"\r{label}, step {step}/{steps}{end}", end="", file=stream, flush=True)

    with warnings_to(stream):
        prompts, seeds = [job.prompt for job in batch], [job.seed for job in batch]
        choices = {"steps": batch[0].steps, **options}
        image, control = (choices.pop(name, None) for name in ("image", "control"))
        return make_batch(model, prompts, seeds, image, control, show, choices)


def _write(job: Job, clip: Clip | Refused, request: GenerateRequest, stream: TextIO) -> Path:
    if isinstance(clip, Refused):
        raise clip
    start = time.perf_counter()
    path = clip.save(job.path, format=job.format, alpha=request.alpha, overwrite=request.overwrite)
    seconds = {**clip.timings, "write": time.perf_counter() - start}
    parts = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
    count, height, width, _ = clip.frames.shape
    print(
        f"{path.name}: {count} frames {width}x{height}, {clip.settings['steps']} steps, "
        f"seed {clip.seed}: {sum(seconds.values()):.2f} s ({parts})",
        file=stream,
    )
    return path
