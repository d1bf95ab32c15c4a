"""Make a cache: encode videos or images with their captions once, so that training never does.

Run again, a command continues where the last one ended, killed or not, and the files come out
the same byte for byte. The format is told in `mcm.data.cache_files`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mcm import progress as progress_display
from mcm.data.cache_checks import check_image_job, check_video_job
from mcm.data.cache_files import Encoder
from mcm.data.cache_jobs import Crop, ImageJob, Job, Loaded, Place, StorageType, VideoJob
from mcm.data.cache_writer import CacheWriter
from mcm.data.grey import Window
from mcm.data.samples import Sample, SampleError, SampleSource
from mcm.errors import UserError

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class CacheSummary:
    """What a cache holds after a run.

    Attributes:
        folder: The cache.
        samples: Samples in it.
        added: How many of them this run added.
        captions: Different captions, the empty one not counted.
        captions_cut: Captions that were over the backbone's token limit.
        skipped: Samples left out; `skipped.jsonl` names them.
        skips: The reasons in one line.
    """

    folder: Path
    samples: int
    added: int
    captions: int
    captions_cut: int
    skipped: int
    skips: str

    def __str__(self) -> str:
        text = (
            f"{self.folder}: {self.samples} samples ({self.added} new), "
            f"{self.captions} different captions; {self.skips}"
        )
        if self.captions_cut:
            text += f"; {self.captions_cut} of the captions cut at the backbone's token limit"
        return text


@dataclass(frozen=True)
class _Effort:
    """How the work is done; none of it changes what a cache holds, only its cut into files."""

    batch_size: int
    samples_per_file: int
    limit: int | None
    workers: int
    most_bad: float
    visible: bool


def cache_videos(
    source: SampleSource,
    backbone: Encoder,
    out: str | Path,
    *,
    frames: int | None = None,
    fps: float | None = None,
    frame_interval: int | None = None,
    size: tuple[int, int] | None = None,
    clip: Place = "start",
    crop: Crop = "centre",
    keep_frames: int = 0,
    window: Window | None = None,
    seed: int = 0,
    dtype: StorageType = "float16",
    batch_size: int = 8,
    samples_per_file: int = 256,
    limit: int | None = None,
    workers: int = 2,
    most_bad: float = 0.5,
    progress: bool = True,
) -> CacheSummary:
    """Cache the latents and text states of videos.

    Args:
        source: The videos, see `mcm.data.sources.open_source`.
        backbone: The teacher whose encoders are used.
        out: Folder of the cache; a cache that is there is continued.
        frames: Frames of a clip; `None` takes the backbone's number.
        fps: Frames per second of a clip; `None` takes the backbone's rate.
        frame_interval: Take every n-th frame instead of frames by time.
        size: (height, width) in pixels; `None` takes the backbone's size.
        clip: Where in the video the clip lies; `random` is drawn once from `seed`.
        crop: Where the crop lies.
        keep_frames: Frames of every clip to store as pixels too, for a critic whose real side
            is the videos' own frames.
        window: Of single-channel videos, the stored values that become black and white.
        seed: Seed of clip, crop and kept frames.
        dtype: Number format of the stored latents and text states.
        batch_size: Samples encoded at once.
        samples_per_file: Samples a file; what is not yet in a file is lost when killed.
        limit: Stop at so many samples.
        workers: Threads that read ahead.
        most_bad: Fraction of bad samples above which the run stops.
        progress: Whether to show progress.

    Raises:
        UserError: An argument does not fit, too much of the data is bad, or the folder holds a
            cache of another backbone, other settings or other data.
        OSError: The disk is full or the folder cannot be written; what is stored stays.
    """
    spec = backbone.spec
    rate, interval = _rate(fps, frame_interval, spec.fps)
    count = spec.frames if frames is None else frames
    size = size or (spec.height, spec.width)
    job = VideoJob(count, rate, interval, size, clip, crop, keep_frames, seed, dtype, window)
    check_video_job(job, spec)
    effort = _Effort(batch_size, samples_per_file, limit, workers, most_bad, progress)
    return _make(source, backbone, Path(out), job, effort)


def cache_images(
    source: SampleSource,
    backbone: Encoder,
    out: str | Path,
    *,
    size: tuple[int, int] | None = None,
    crop: Crop = "centre",
    latents: bool = False,
    reconstruct: bool = False,
    window: Window | None = None,
    seed: int = 0,
    dtype: StorageType = "float16",
    batch_size: int = 8,
    samples_per_file: int = 256,
    limit: int | None = None,
    workers: int = 2,
    most_bad: float = 0.5,
    progress: bool = True,
) -> CacheSummary:
    """Cache the pixels and text states of images, the critic's real side.

    Args:
        source: The images.
        backbone: The teacher whose encoders are used.
        out: Folder of the cache.
        size: (height, width) in pixels; `None` takes the backbone's size.
        crop: Where the crop lies.
        latents: Whether to store latents (c 1 h w) too.
        reconstruct: Whether to store the pixels that the autoencoder gives back, so that a
            critic cannot tell images by what no latents can hold.
        window: Of single-channel images, the stored values that become black and white.
        seed: Seed of the crop.
        dtype: As `cache_videos`, and so are the others.
        batch_size: Samples encoded at once.
        samples_per_file: Samples a file.
        limit: Stop at so many samples.
        workers: Threads that read ahead.
        most_bad: Fraction of bad samples above which the run stops.
        progress: Whether to show progress.

    Raises:
        UserError: As `cache_videos`.
        OSError: As `cache_videos`.
    """
    spec = backbone.spec
    size = size or (spec.height, spec.width)
    job = ImageJob(size, crop, latents, seed, dtype, window, reconstruct)
    check_image_job(job, spec)
    effort = _Effort(batch_size, samples_per_file, limit, workers, most_bad, progress)
    return _make(source, backbone, Path(out), job, effort)


def _make(
    source: SampleSource, backbone: Encoder, out: Path, job: Job, effort: _Effort
) -> CacheSummary:
    _check_effort(effort)
    writer = CacheWriter(out, job, backbone, effort.batch_size, effort.most_bad)
    before = writer.samples
    if effort.limit is None or before < effort.limit:
        _fill(writer, source, job, effort)
        writer.report.check()
    if writer.samples == 0:
        writer.report.write()
        raise UserError(f"{out}: no usable sample in the data: {writer.report.summary()}")
    writer.store(complete=True)
    return CacheSummary(
        folder=out,
        samples=writer.samples,
        added=writer.samples - before,
        captions=len(writer.caption_rows) - 1,
        captions_cut=writer.index.captions_cut,
        skipped=writer.index.skipped,
        skips=writer.report.summary(),
    )


def _fill(writer: CacheWriter, source: SampleSource, job: Job, effort: _Effort) -> None:
    """Read, encode and store samples until the source ends or the limit is reached."""
    known = [number for number in (effort.limit, source.length()) if number is not None]
    load = partial(_load, job)
    with progress_display.progress(
        f"cache {job.settings['kind']}",
        min(known, default=None),
        done=writer.samples,
        visible=effort.visible,
    ) as bar:
        for item, loaded in _ahead(load, writer.unread(source), effort.workers):
            writer.add(item, loaded)
            bad = isinstance(loaded, SampleError)
            bar.advance(done=int(not bad), skipped=int(bad))
            if writer.waiting == effort.samples_per_file:
                writer.store()
            if writer.samples == effort.limit:
                return


def _load(job: Job, item: Sample | SampleError) -> Loaded | SampleError:
    if isinstance(item, SampleError):
        return item
    try:
        return job.load(item)
    except SampleError as error:
        return error


def _ahead(function: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[tuple[S, T]]:
    """Yield every item with its result, in order, computed a few items ahead by threads."""
    waiting: deque[tuple[S, Future[T]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > 2 * workers:
                first, result = waiting.popleft()
                yield first, result.result()
        for first, result in waiting:
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _rate(
    fps: float | None, frame_interval: int | None, native_fps: int
) -> tuple[float | None, int]:
    """Return the rate, or `None` and the step between frames."""
    if frame_interval is None:
        return float(native_fps if fps is None else fps), 1
    if fps is not None:
        raise UserError("fps, frame_interval: got both; give the rate or the step between frames")
    return None, frame_interval


def _check_effort(effort: _Effort) -> None:
    for name in ("batch_size", "samples_per_file", "limit", "workers"):
        value = getattr(effort, name)
        if value is not None and value < 1:
            raise UserError(f"{name}: got {value}, expected 1 or more")
    if not 0 <= effort.most_bad <= 1:
        raise UserError(f"most_bad: got {effort.most_bad}, expected a fraction from 0 to 1")
