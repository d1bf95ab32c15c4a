"""The work of `mcm generate`: load a model, make every clip, write it, tell the times."""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mcm.safety.guard import check_prompt
from mcm.sampling.clip import Clip
from mcm.sampling.options import ModelWarning
from mcm.sampling.requests import GenerateRequest, Job, plan_jobs

if TYPE_CHECKING:
    from mcm.sampling.pipeline import VideoModel


def generate_files(request: GenerateRequest, stream: TextIO | None = None) -> list[Path]:
    """Make the clips of a request.

    Progress, warnings and one line of timings per clip go to ``stream``. Everything that can
    be checked is checked before the model is loaded; each clip is on disk before the next batch.

    Args:
        request: What to make.
        stream: Where to report; standard error if not given.

    Returns:
        The files written, or folders for the format `frames`.

    Raises:
        UserError: A value is wrong, or an output exists and ``overwrite`` is off.
        Refused: The policy of `mcm.safety` does not allow a prompt or a clip.
        OSError: The disk is full or a folder cannot be written; clips made before stay.
    """
    stream = stream or sys.stderr
    jobs, options = plan_jobs(request), request.options()
    for job in jobs:
        check_prompt(job.prompt)
    start = time.perf_counter()
    from mcm.sampling.pipeline import load

    with _warnings_to(stream):
        model = load(request.model, request.device, request.dtype)
    print(f"{model.name} loaded in {time.perf_counter() - start:.2f} s", file=stream)
    if request.image is not None or request.control is not None:
        from mcm.sampling.pictures import read_pictures

        options |= read_pictures(request, model)
    paths: list[Path] = []
    for batch in _batches(jobs, request.batch_size):
        label = f"clip {len(paths) + 1}/{len(jobs)}"
        clips = _generate(model, batch, options, label, stream)
        for job, clip in zip(batch, clips, strict=True):
            paths.append(_write(job, clip, request, stream))
    return paths


def _batches(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """Yield runs of jobs that can be made together: of equal steps, at most ``size``."""
    for _, group in itertools.groupby(jobs, key=lambda job: job.steps):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _generate(
    model: VideoModel, batch: Sequence[Job], options: dict[str, Any], label: str, stream: TextIO
) -> list[Clip]:
    def show(step: int, steps: int, _: object) -> None:
        if stream.isatty():
            end = "\r\033[K" if step == steps else ""
            print(f"\r{label}, step {step}/{steps}{end}", end="", file=stream, flush=True)

    with _warnings_to(stream):
        return model.generate_batch(
            [job.prompt for job in batch],
            [job.seed for job in batch],
            steps=batch[0].steps,
            on_step=show,
            **options,
        )


def _write(job: Job, clip: Clip, request: GenerateRequest, stream: TextIO) -> Path:
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


@contextmanager
def _warnings_to(stream: TextIO) -> Iterator[None]:
    """Tell the user's own warnings as messages, and leave all others alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ModelWarning)
        default = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, ModelWarning):
                print(f"mcm: warning: {message}", file=stream)
            else:
                default(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
