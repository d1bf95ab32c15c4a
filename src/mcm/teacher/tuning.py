"""Fine-tune a teacher: its network on a cache of one's own videos, its decoder on pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderDC

from mcm.backbones.loading import load_backbone
from mcm.data.cached import CachedVideos
from mcm.errors import UserError
from mcm.teacher.assemble import copy_all_but_network
from mcm.teacher.corpus import LatentCorpus
from mcm.teacher.decoder import CROP, SharpDecoder, train_decoder
from mcm.teacher.loop import LoopConfig
from mcm.teacher.motion import ClipSettings, train_motion
from mcm.teacher.pictures import Crops, read_pictures


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


def tune_decoder(
    teacher: Path,
    places: Sequence[Path],
    output: Path,
    config: LoopConfig,
    minutes: float | None = None,
) -> Path:
    """Train a teacher's decoder on pictures of one's own; write the whole teacher again.

    Encoder and network stay: latents mean what they meant. Tune the decoder before the caches are
    made, since they are tied to the whole autoencoder.

    Args:
        teacher: Folder in the layout of diffusers, as the embedded teacher's.
        places: Folders of videos or images with captions, or shards.
        output: Folder of the new teacher; holds the run as well, which is resumed if there.
        config: The schedule.
        minutes: Stop after this time even if steps remain.

    Returns:
        ``output``.

    Raises:
        UserError: The autoencoder is of another kind, or a place holds nothing that can be read.
    """
    backbone = load_backbone(teacher, "cpu", "float32")
    model, grid = backbone.codec.autoencoder, backbone.spec.spatial_factor
    if not isinstance(model, AutoencoderDC):
        raise UserError(
            f"{teacher}: its autoencoder is of the class {type(model).__name__}; only the decoder "
            "of an AutoencoderDC can be tuned"
        )
    model.decoder.requires_grad_(True)
    crops = Crops(read_pictures(places, backbone.spec), CROP, grid)
    torch.manual_seed(config.seed)
    train_decoder(SharpDecoder(model, adversarial=0), crops, output / "run", config, minutes)
    copy_all_but_network(teacher, output)
    shutil.copytree(teacher / "unet", output / "unet", dirs_exist_ok=True)
    model.half().save_pretrained(output / "vae")
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
