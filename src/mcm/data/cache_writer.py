"""Write a cache shard by shard, continuing where an earlier run ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.data.cache_files import (
    INDEX,
    SKIPPED,
    Encoder,
    Index,
    Shard,
    captions_file,
    check_identity,
    identity,
    load_index,
    read_names,
    samples_file,
    save_tensors,
)
from mcm.data.cache_jobs import Job, Loaded, to_storage
from mcm.data.files import remove_partial_files
from mcm.data.samples import Sample, SampleError, SampleSource, SkipReport, read_skipped
from mcm.errors import UserError


class CacheWriter:
    """A cache that is being made.

    Args:
        folder: Where; made when missing, continued when it holds a cache.
        job: How samples are read and encoded.
        backbone: Whose encoders.
        batch_size: Samples encoded at once.
        most_bad: Fraction of bad samples at which to stop.

    Raises:
        UserError: The folder holds a cache of another backbone or of other settings.
    """

    def __init__(
        self, folder: Path, job: Job, backbone: Encoder, batch_size: int, most_bad: float
    ) -> None:
        self.folder = folder
        self.index = _open_index(folder, job, backbone)
        skipped = read_skipped(folder / SKIPPED, self.index.skipped)
        self.report = SkipReport(folder / SKIPPED, most_bad, self.index.samples, skipped)
        self.caption_rows = _read_caption_rows(folder, self.index)
        self._job = job
        self._backbone = backbone
        self._batch_size = batch_size
        self._items_read = self.index.items_read
        self._last_item = self.index.last_item
        self._clear()

    @property
    def samples(self) -> int:
        """Samples stored and waiting to be."""
        return self.index.samples + self.waiting

    @property
    def waiting(self) -> int:
        """Samples that are not stored yet."""
        return len(self._keys)

    def unread(self, source: SampleSource) -> Iterator[Sample | SampleError]:
        """Yield the items of a source that the cache has not seen.

        Raises:
            UserError: The source is not the one that the cache was begun with.
        """
        items = iter(source)
        seen = deque(islice(items, self._items_read), maxlen=1)
        now = seen[0].file if seen else None
        if self._last_item != now:
            raise UserError(
                f"{self.folder}: the cache was begun with other data: its item "
                f"{self._items_read} was {self._last_item}, now it is {now}; "
                "give the same data in the same order, or another folder"
            )
        yield from items

    def add(self, item: Sample | SampleError, loaded: Loaded | SampleError) -> None:
        """Take the next item of the source, read or bad."""
        self._items_read += 1
        self._last_item = item.file
        if isinstance(loaded, SampleError):
            self.report.skip(loaded)
            return
        self.report.used += 1
        self._keys.append(loaded.sample.key)
        self._captions.append(loaded.sample.caption)
        self._batch.append(loaded)
        if len(self._batch) == self._batch_size:
            self._encode()

    def store(self, complete: bool = False) -> None:
        """Write the waiting samples as a shard, then the report, then the index."""
        if self.waiting:
            self._store_shard()
        self.report.write()
        self.index.items_read = self._items_read
        self.index.last_item = self._last_item
        self.index.skipped = len(self.report.skipped)
        self.index.complete = complete
        self.index.save(self.folder)
        self._clear()

    def _clear(self) -> None:
        self._batch: list[Loaded] = []
        self._parts: list[dict[str, Tensor]] = []
        self._keys: list[str] = []
        self._captions: list[str] = []

    def _encode(self) -> None:
        if self._batch:
            self._parts.append(self._job.encode(self._batch, self._backbone))
            self._batch = []

    def _store_shard(self) -> None:
        self._encode()
        number = len(self.index.shards)
        new_captions = self._store_captions(number)
        rows = torch.tensor([self.caption_rows[caption] for caption in self._captions])
        parts = {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}
        save_tensors(samples_file(self.folder, number), {**parts, "caption": rows}, self._keys)
        self.index.shards.append(Shard(self.waiting, new_captions))

    def _store_captions(self, number: int) -> int:
        first = [] if self.caption_rows else [""]
        unique = dict.fromkeys(first + self._captions)
        new = [caption for caption in unique if caption not in self.caption_rows]
        if new:
            tensors = self._text_states(new)
            save_tensors(captions_file(self.folder, number), tensors, new)
            self.index.captions_cut += sum(bool(self._backbone.cut_prompt(text)) for text in new)
        for caption in new:
            self.caption_rows[caption] = len(self.caption_rows)
        return len(new)

    def _text_states(self, captions: Sequence[str]) -> dict[str, Tensor]:
        size = self._batch_size
        groups = [captions[at : at + size] for at in range(0, len(captions), size)]
        with torch.no_grad():
            states = Condition.cat([self._backbone.encode_prompt(list(g)) for g in groups])
        result = {
            "tokens": to_storage(states.tokens_bld, self._job.dtype, "text states"),
            "pooled": to_storage(states.pooled_bd, self._job.dtype, "pooled text states"),
        }
        return result if states.mask_bl is None else {**result, "mask": states.mask_bl.cpu()}


def _open_index(folder: Path, job: Job, backbone: Encoder) -> Index:
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    if not (folder / INDEX).exists():
        return Index(identity(backbone), job.settings)
    index = load_index(folder)
    check_identity(folder, index, backbone)
    _check_settings(folder, index.settings, job)
    return index


def _check_settings(folder: Path, made_with: dict[str, object], job: Job) -> None:
    names = dict.fromkeys([*job.settings, *made_with])
    differing = [n for n in names if made_with.get(n) != job.settings.get(n)]
    if differing:
        changes = ", ".join(
            f"{name} {made_with.get(name)}, now {job.settings.get(name)}" for name in differing
        )
        raise UserError(
            f"{folder}: the cache was made with other settings: {changes}. "
            "Use those settings, or make a cache in another folder"
        )


def _read_caption_rows(folder: Path, index: Index) -> dict[str, int]:
    from safetensors import safe_open

    rows: dict[str, int] = {}
    for number, shard in enumerate(index.shards):
        if shard.captions:
            with safe_open(captions_file(folder, number), framework="pt") as file:
                rows |= {text: len(rows) + row for row, text in enumerate(read_names(file))}
    return rows
