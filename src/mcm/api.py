"""The public functions of mcm: what the command line does, called from Python.

Each can also be had as ``mcm.NAME``. Errors that the caller can mend are `mcm.UserError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcm.checks import check_start
from mcm.errors import UserError
from mcm.recipe import resolve
from mcm.sampling.clip import Clip
from mcm.sampling.edit_files import read_mask, read_source
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel
from mcm.settings import Recipe

if TYPE_CHECKING:
    from mcm.evaluation.evaluate import Evaluation

__all__ = ["distill", "edit", "evaluate", "generate", "load", "stream"]

Model = VideoModel | str | Path
"""A loaded model, or what `load` takes; load once to call often."""


def generate(
    prompt: str,
    model: Model = "fluent-mcm",
    *,
    steps: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Clip:
    """Generate one clip.

    Args:
        prompt: What the video shows.
        model: A model, or the name or folder of one.
        steps: Network steps, 1 to 50; the model's own by default.
        seed: The same seed, settings and model give the same clip.
        **options: ``guidance``, ``sampler``, ``frames``, ``size`` (height, width),
            ``negative_prompt``, ``stochasticity``, ``loop``, ``image``, ``control``: as in
            :meth:`mcm.sampling.pipeline.VideoModel.generate`.

    Returns:
        The clip; its ``frames`` are uint8, (t, h, w, 3), RGB.

    Raises:
        UserError: There is no such model, or a value is out of its range.
        Refused: The policy does not allow the prompt or the frames.
    """
    return _loaded(model).generate(prompt, steps=steps, seed=seed, **options)


def edit(
    video: str | Path | NDArray[np.uint8],
    prompt: str,
    model: Model = "fluent-mcm",
    *,
    strength: float = 0.6,
    mask: str | Path | NDArray[np.bool_] | None = None,
    start: float = 0.0,
    frames: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Clip:
    """Change a video to what a prompt says, in few steps.

    Args:
        video: A video file, a picture to animate, or frames, RGB uint8, (t, h, w, 3), of a size
            and length that the model can make. Files are cropped and resampled to the model's own.
        prompt: What it shall show.
        model: A student, or the name or folder of one.
        strength: How much may change: above 0 (little) to 1 (everything).
        mask: Where it may change: an image file, white and opaque there, or (h, w); everywhere by
            default.
        start: Second of a video file to begin with.
        frames: Frames of a file to edit; the model's own number by default. Of an array give a
            slice instead.
        seed: Seed of the noise.
        **options: ``steps``, of which a small strength leaves fewer, ``stochasticity``,
            ``guidance`` and ``negative_prompt`` as in `generate`; no others.

    Returns:
        The clip; saved, its manifest names the file that was edited and keeps that file's own.

    Raises:
        UserError: A file cannot be read, the model is no student, or a value is out of its range.
        Refused: The policy does not allow the prompt or the frames.
    """
    student = _loaded(model)
    source = None
    if isinstance(video, str | Path):
        source = Path(video)
        pixels = read_source(source, student, start, frames)
    elif check_start(start) or frames is not None:
        raise UserError("start, frames: they choose from a file; of an array give a slice")
    else:
        pixels = video
    region = read_mask(Path(mask), student) if isinstance(mask, str | Path) else mask
    clip = student.edit(pixels, prompt, strength=strength, mask_hw=region, seed=seed, **options)
    return replace(clip, source=source)


def stream(
    prompt: str,
    model: Model = "fluent-mcm",
    *,
    seed: int = 0,
    overlap: int | None = None,
    **options: Any,
) -> Iterator[Clip]:
    """Generate without end, window after window.

    Args:
        prompt: What the video shows.
        model: A student, or the name or folder of one.
        seed: The same seed, settings and model give the same stream.
        overlap: Frames that a window shares with the one before; a quarter by default.
        **options: ``steps``, ``size`` and ``stochasticity`` as in `generate`; no others.

    Returns:
        The new frames of each window, made when they are asked for.

    Raises:
        UserError: The model cannot stream, or a value is out of its range.
        Refused: The policy does not allow the prompt, or a window's frames.
    """
    return _loaded(model).stream(prompt, seed=seed, overlap=overlap, **options)


def distill(recipe: Recipe | str | Path, overrides: Sequence[str] = ()) -> Path:
    """Distil a student.

    Args:
        recipe: A recipe or its file.
        overrides: Values to change in a file's recipe, as ``optimizer.lr=1e-5``.

    Returns:
        The student's folder, which `load` takes.

    Raises:
        UserError: Something of the recipe does not fit the machine, the data or the teacher.
        OSError: The output cannot be written.
        SystemExit: Code 130, when Ctrl-C or SIGTERM ended the run; it was saved.
    """
    from mcm.distillation.run import distill as run

    return run(recipe if isinstance(recipe, Recipe) else resolve(Path(recipe), list(overrides)))


def evaluate(models: Sequence[str], output: str | Path, **options: Any) -> Evaluation:
    """Compare models at few steps on one protocol; run it again to continue.

    Args:
        models: Names or folders with their options, as ``fluent:sampler=unipc@4,8``.
        output: Folder of the evaluation.
        **options: ``steps``, ``teacher``, ``count``, ``real``, ``protocol``, ``shown``, ``part``,
            ``judges``, ``device``, ``dtype``: as in
            :func:`mcm.evaluation.evaluate.evaluate_models`.

    Returns:
        The rows of the report, and the files that were written.

    Raises:
        UserError: There is no model, or one, its options or its steps cannot be.
    """
    from mcm.evaluation.evaluate import evaluate_models

    return evaluate_models(models, Path(output), **options)


def _loaded(model: Model) -> VideoModel:
    return model if isinstance(model, VideoModel) else load(model)
