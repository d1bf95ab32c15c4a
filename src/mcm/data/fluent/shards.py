"""Write the embedded world as WebDataset shards, the format that users bring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mcm.data.fluent import render
from mcm.data.fluent.scene import Split
from mcm.data.fluent.world import Domain, World
from mcm.data.samples import Sample
from mcm.data.shards import ShardWriter


def samples(domain: Domain, world: World, count: int, split: Split) -> Iterator[Sample]:
    """Yield the first ``count`` samples of a domain; poor video comes as mp4, stills as WebP."""
    for number in range(count):
        key = f"{domain}-{split}-{number:06}"
        if domain == "video":
            media, caption, metadata = world.poor_video(number, split)
            yield Sample(key, caption, media, f"{key}.mp4", metadata)
        else:
            still = world.still(number, domain, split)
            media = render.encode_image(still.image)
            yield Sample(key, still.caption, media, f"{key}.webp", {"noun": still.noun})


def write_shards(
    folder: Path, domain: Domain, count: int, split: Split = "train", seed: int = 0
) -> list[Path]:
    """Write ``count`` samples of a domain as shards and return their paths.

    Raises:
        UserError: If the folder already holds shards of this domain and split.
    """
    with ShardWriter(folder, f"{domain}-{split}") as writer:
        for sample in samples(domain, World(seed=seed), count, split):
            writer.write(sample)
    return writer.written
