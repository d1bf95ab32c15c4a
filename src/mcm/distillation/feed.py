"""Batches from the caches: which samples a step sees is a function of seed, step and rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mcm.data.cached import CachedImages, CachedVideos, VideoBatch
from mcm.data.sampler import EpochSampler
from mcm.distillation.batch import DistillBatch
from mcm.errors import UserError
from mcm.settings import Recipe

HELD_FRACTION = 10
_IMAGE_STREAM = 1_000_003


@dataclass(frozen=True, eq=False)
class Feed(Dataset[DistillBatch]):
    """The batches of all forward passes, by number.

    The last clips of a cache are held out for the probe: as many as asked for, but never more
    than a tenth of them.

    Attributes:
        videos: Cached clips.
        images: Cached images for the critic's real side, or ``None``.
        order: Order of the clips.
        image_order: Order of the images.
        judged: Frames of a clip that the critic sees; 0 without a critic.
        latents: Whether the images' latents are wanted too.
    """

    videos: CachedVideos
    images: CachedImages | None
    order: EpochSampler
    image_order: EpochSampler | None
    judged: int
    latents: bool = False

    @classmethod
    def open(cls, recipe: Recipe, world_size: int = 1, rank: int = 0) -> Feed:
        """Open the caches of a recipe.

        Raises:
            UserError: A cache is missing or unfinished, or the sizes cannot be paired.
        """
        images = recipe.data.images if image_count(recipe) else None
        return cls.over(
            recipe,
            CachedVideos(recipe.data.videos),
            None if images is None else CachedImages(images),
            world_size,
            rank,
        )

    @classmethod
    def over(
        cls,
        recipe: Recipe,
        videos: CachedVideos,
        images: CachedImages | None = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> Feed:
        """Lay a recipe's order over open caches.

        Raises:
            UserError: The numbers of images and frames cannot be paired.
        """
        seed, batch_size = recipe.trainer.seed, recipe.trainer.batch_size
        judged = judged_frames(recipe)
        size = len(videos) - held_count(len(videos), recipe.trainer.probe_clips)
        order = EpochSampler(seed, size, batch_size, world_size, rank)
        if images is None:
            return cls(videos, None, order, None, judged)
        count = image_count(recipe)
        _check_pairs(recipe, count, batch_size * judged)
        image_order = EpochSampler(seed + _IMAGE_STREAM, len(images), count, world_size, rank)
        latents = recipe.consistency.image_weight > 0
        if latents:
            _check_latents(images)
        return cls(videos, images, order, image_order, judged, latents)

    def __getitem__(self, number: int) -> DistillBatch:
        """Return the batch of a forward pass, counted from 0 over the whole run."""
        clips = self.videos.batch(self.order.indices(number))
        if self.images is not None and self.image_order is not None:
            images = self.images.batch(self.image_order.indices(number))
            pixels, text = images.pixels_b3hw, images.condition.pooled_bd
            batch = DistillBatch(clips.latents_bcthw, clips.condition, pixels, text)
            if not self.latents:
                return batch
            latents, condition = images.latents_bcthw, images.condition
            return replace(batch, image_latents_bcthw=latents, image_condition=condition)
        if clips.frames_bl3hw is None or self.judged == 0:
            return DistillBatch(clips.latents_bcthw, clips.condition)
        pixels, text = own_frames(clips, self.judged, number)
        return DistillBatch(clips.latents_bcthw, clips.condition, pixels, text)

    def stream(self, first: int, last: int, workers: int) -> Iterator[DistillBatch]:
        """Yield the batches ``first`` .. ``last`` − 1; worker processes read ahead."""
        loader: DataLoader[DistillBatch] = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            collate_fn=_unchanged,
        )
        return iter(loader)

    def held(self, most: int) -> DistillBatch:
        """Return the held-out clips; the last clips of training where too few are cached."""
        size = len(self.videos)
        count = held_count(size, most) or min(most, size)
        clips = self.videos.batch(range(size - count, size))
        return DistillBatch(clips.latents_bcthw, clips.condition)


def judged_frames(recipe: Recipe) -> int:
    """Return how many frames of a clip the critic of frames sees; 0 without one."""
    return recipe.critic.frames_per_clip if recipe.critic.weight > 0 else 0


def image_count(recipe: Recipe) -> int:
    """Return how many images a batch of a recipe has; 0 where it has no use for them."""
    judged, learnt = judged_frames(recipe), recipe.consistency.image_weight > 0
    if recipe.data.images is None or not (judged or learnt):
        return 0
    return recipe.data.image_batch_size or recipe.trainer.batch_size * (judged or 1)


def held_count(size: int, most: int) -> int:
    """Return how many of ``size`` clips are held out."""
    return min(most, size // HELD_FRACTION)


def own_frames(clips: VideoBatch, count: int, number: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` of each clip's kept frames, others at each pass, and their text states."""
    assert clips.frames_bl3hw is not None
    kept = clips.frames_bl3hw.shape[1]
    places = [(number * count + i) % kept for i in range(count)]
    text = clips.condition.pooled_bd.repeat_interleave(count, dim=0)
    return clips.frames_bl3hw[:, places].flatten(0, 1), text


def _check_pairs(recipe: Recipe, images: int, frames: int) -> None:
    if recipe.critic.loss == "relativistic" and images != frames:
        raise UserError(
            f"data.image_batch_size: got {images}, but critic.loss=relativistic pairs each image "
            f"with one of {frames} generated frames (trainer.batch_size × "
            f"critic.frames_per_clip); remove the field or give {frames}"
        )


def _check_latents(images: CachedImages) -> None:
    if images.batch([0]).latents_bcthw is None:
        raise UserError(
            f"data.images: {images.folder} holds no latents, which consistency.image_weight needs; "
            "make the cache again with `mcm data cache --images --latents`"
        )


def _unchanged(value: Any) -> Any:
    return value
