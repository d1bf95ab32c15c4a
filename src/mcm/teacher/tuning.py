"""Fine-tune a teacher on a cache of one's own videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from mcm.backbones.loading import load_backbone
from mcm.data.cached import CachedVideos
from mcm.teacher.assemble import copy_all_but_network
from mcm.teacher.corpus import LatentCorpus
from mcm.teacher.loop import LoopConfig
from mcm.teacher.motion import ClipSettings, train_motion


def tune_to_videos(
    teacher: Path,
    videos: Path,
    output: Path,
    config: LoopConfig,
    batch_size: int = 8,
    minutes: float | None = None,
    compiled: bool = False,
) -> Path:
    """Train a teacher's network, image and motion layers, on cached videos.

    The rest stays, so that caches made with the teacher serve the new one too.

    Args:
        teacher: Folder in the layout of diffusers, as the embedded teacher's.
        videos: Cache that `mcm data cache` made with this teacher.
        output: Folder of the new teacher; holds the run as well, which is resumed if there.
        config: The schedule.
        batch_size: Clips in a batch.
        minutes: Stop after this time even if steps remain.
        compiled: Compile the network first; needs a C++ compiler.

    Returns:
        ``output``.

    Raises:
        UserError: There is no finished cache, or another teacher made it.
    """
    cache = CachedVideos(videos)
    cache.check_backbone(load_backbone(teacher, "cpu"))
    corpus = corpus_of(cache)
    frames = corpus.latents_ncthw.shape[2]
    run = output / "run"
    train_motion(
        corpus,
        teacher,
        teacher / "unet",
        run,
        config,
        ClipSettings((frames,), frames * batch_size),
        image_factor=1.0,
        compiled=compiled,
        minutes=minutes,
    )
    copy_all_but_network(teacher, output)
    shutil.copytree(run / "motion_unet", output / "unet", dirs_exist_ok=True)
    return output


def corpus_of(cache: CachedVideos, at_once: int = 64) -> LatentCorpus:
    """Return all clips of a cache in memory, in float16."""
    batches = [
        cache.batch(range(start, min(start + at_once, len(cache))))
        for start in range(0, len(cache), at_once)
    ]
    return LatentCorpus(
        latents_ncthw=torch.cat([batch.latents_bcthw.half() for batch in batches]),
        captions=[caption for batch in batches for caption in batch.captions],
    )
