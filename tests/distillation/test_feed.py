from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distillation.toy import SHAPE, ToyVideos, texts

from mcm.data.cached import ImageBatch
from mcm.distillation.feed import Feed
from mcm.errors import UserError
from mcm.settings import Recipe


class ToyImages:
    """A cache of images in memory."""

    folder = Path("toy-images")

    def __init__(self, latents: bool = True) -> None:
        draws = torch.Generator().manual_seed(6)
        self.pixels = torch.rand(20, 3, 16, 16, generator=draws) * 2 - 1
        self.latents = torch.randn(20, *SHAPE, generator=draws)[:, :, :1] if latents else None

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Sequence[int]) -> ImageBatch:
        chosen, names = list(indices), [str(i) for i in indices]
        latents = None if self.latents is None else self.latents[chosen]
        return ImageBatch(self.pixels[chosen], texts(indices), latents, names, names)


def feed_of(recipe: Recipe, latents: bool = True) -> Feed:
    videos: Any = ToyVideos()
    images: Any = ToyImages(latents)
    return Feed.over(recipe, videos, images)


@pytest.mark.parametrize("judged", [True, False])
def test_latents_are_those_of_the_images_beside_them(
    recipe_of: Callable[..., Recipe], judged: bool
) -> None:
    """The critic's images and those that consistency is asked of are the same."""
    data = {"images": "toy", "image_batch_size": 5}
    sections = {"data": data, "critic": {"weight": 0.1 * judged}}
    batch = feed_of(recipe_of(**sections, consistency={"image_weight": 1.0}))[3]
    pixels, latents, texts_ = batch.images_n3hw, batch.image_latents_bcthw, batch.image_condition
    assert pixels is not None and latents is not None and texts_ is not None
    every = ToyImages()
    assert every.latents is not None
    rows = [int((every.pixels == one).flatten(1).all(1).nonzero()) for one in pixels]
    assert len(set(rows)) == 5
    assert torch.equal(latents, every.latents[rows])
    assert torch.equal(texts_.tokens_bld, texts(rows).tokens_bld)
    plain = feed_of(recipe_of(data=data))[3]
    assert plain.image_latents_bcthw is None
    assert plain.images_n3hw is not None and torch.equal(plain.images_n3hw, pixels)


def test_as_many_images_as_judged_frames_or_clips(recipe_of: Callable[..., Recipe]) -> None:
    sections = {"data": {"images": "toy"}, "consistency": {"image_weight": 1.0}}
    for weight, count in ((0.1, 4), (0.0, 2)):
        batch = feed_of(recipe_of(**sections, critic={"weight": weight}))[0]
        assert batch.image_latents_bcthw is not None
        assert len(batch.image_latents_bcthw) == count


def test_a_cache_without_latents_is_refused_with_the_way_out(
    recipe_of: Callable[..., Recipe],
) -> None:
    recipe = recipe_of(data={"images": "toy"}, consistency={"image_weight": 1.0})
    with pytest.raises(UserError, match=r"toy-images holds no latents.*--images --latents"):
        feed_of(recipe, latents=False)
