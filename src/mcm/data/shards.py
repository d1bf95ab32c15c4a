"""WebDataset shards: tar files with `key.mp4` (or an image) and `key.json` side by side."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from mcm.data.files import atomic_file
from mcm.data.samples import Sample, SampleError
from mcm.errors import UserError

VIDEO_SUFFIXES = (
    *("mp4", "webm", "mkv", "mov", "avi", "m4v", "gif"),
    *("mpg", "mpeg", "ts", "wmv", "flv", "ogv", "3gp"),
)
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "avif")
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + IMAGE_SUFFIXES)


class ShardSource:
    """Samples of WebDataset tars, shard by shard, in the order of the files inside.

    Args:
        shards: Paths of tar files, or addresses that webdataset opens (`https://…`, `pipe:…`).
    """

    def __init__(self, shards: Sequence[str]) -> None:
        self.shards = tuple(shards)

    def __iter__(self) -> Iterator[Sample | SampleError]:
        """Yield every sample; an unreadable rest of a shard comes as one error."""
        for shard in self.shards:
            yield from _read_shard(shard)

    def length(self) -> int | None:
        """Count the keys by the tar headers; `None` when a shard is remote or damaged."""
        try:
            return sum(_count_keys(shard) for shard in self.shards)
        except (OSError, tarfile.TarError):
            return None


class ShardWriter:
    """Writes samples as WebDataset shards `<prefix>-000000.tar`, each file whole or not there.

    Use it in a `with` block: leaving it closes the last shard; leaving it with an error drops
    the shard that was being written.

    Args:
        folder: Where to write; made when missing.
        prefix: Beginning of the file names.
        max_samples: Most samples a shard.
        max_bytes: Size after which a new shard begins.

    Raises:
        UserError: The folder already holds shards of this prefix.
    """

    def __init__(
        self,
        folder: str | Path,
        prefix: str = "shard",
        *,
        max_samples: int = 1000,
        max_bytes: int = 500_000_000,
    ) -> None:
        self.folder = Path(folder)
        self.prefix = prefix
        self.max_samples = max_samples
        self.max_bytes = max_bytes
        self.written: list[Path] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        if next(self.folder.glob(f"{prefix}-*.tar"), None):
            raise UserError(
                f"{self.folder}: already holds {prefix}-*.tar; "
                "choose an empty folder or remove the old shards"
            )
        self._shard = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._samples = 0
        self._bytes = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shard.__exit__(kind, error, trace)

    def write(self, sample: Sample) -> None:
        """Append a sample: its media, and its caption and metadata as JSON.

        Raises:
            UserError: The key has a dot in its last part, where webdataset would cut it, or the
                file has no suffix.
            OSError: The disk is full or the folder cannot be written.
        """
        _check_key(sample)
        media = sample.content()
        text = json.dumps({"caption": sample.caption, **sample.metadata}, ensure_ascii=False)
        if self._samples >= self.max_samples or self._bytes >= self.max_bytes:
            self._shard.close()
            self._tar = None
        tar = self._tar or self._begin()
        for suffix, content in ((sample.suffix, media), ("json", text.encode())):
            _add(tar, f"{sample.key}.{suffix}", content)
            self._bytes += len(content)
        self._samples += 1

    def _begin(self) -> tarfile.TarFile:
        path = self.folder / f"{self.prefix}-{len(self.written):06}.tar"
        file = self._shard.enter_context(atomic_file(path))
        tar = self._shard.enter_context(tarfile.open(fileobj=file, mode="w"))  # noqa: SIM115
        self.written.append(path)
        self._tar, self._samples, self._bytes = tar, 0, 0
        return tar


def _check_key(sample: Sample) -> None:
    if not sample.key or "." in PurePosixPath(sample.key).name:
        raise UserError(
            f"{sample.file}: key {sample.key!r} is empty or has a dot, and webdataset ends a key "
            "at the first dot; replace the dots, for example by underscores"
        )
    if not sample.suffix:
        raise UserError(f"{sample.file}: no suffix; name the file with one, such as .mp4 or .png")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(content))


def _read_shard(shard: str) -> Iterator[Sample | SampleError]:
    from webdataset.tariterators import tarfile_samples

    last = None
    try:
        for members in tarfile_samples([{"url": shard}]):
            last = members["__key__"]
            yield _sample(shard, members)
    except FileNotFoundError:
        yield SampleError(shard, "missing", "no such file")
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        after = f"after {last!r}" if last else "from its beginning"
        yield SampleError(shard, "corrupt", f"the shard cannot be read {after}: {error.args[0]}")


def _sample(shard: str, members: Mapping[str, Any]) -> Sample | SampleError:
    """Return the sample of one group of tar members, or what is wrong with it."""
    key = members["__key__"]
    place = f"{PurePosixPath(shard).name}/{key}"
    suffix = next((name for name in members if name.split(".")[-1] in MEDIA_SUFFIXES), None)
    if suffix is None:
        others = sorted(name for name in members if not name.startswith("__"))
        return SampleError(place, "no media", f"found only {', '.join(others)} beside this key")
    file = f"{place}.{suffix}"
    if "json" not in members:
        return SampleError(file, "no caption", f"no {key}.json beside it")
    try:
        metadata = json.loads(members["json"])
    except ValueError as error:
        return SampleError(file, "corrupt", f"{key}.json is not JSON: {error}")
    caption = metadata.pop("caption", None) if isinstance(metadata, dict) else None
    if not isinstance(caption, str) or not caption.strip():
        return SampleError(file, "no caption", f"{key}.json has no text under 'caption'")
    return Sample(key, caption.strip(), members[suffix], file, metadata)


def _count_keys(shard: str) -> int:
    from webdataset.tariterators import base_plus_ext

    with tarfile.open(shard, "r:*") as tar:
        keys = [base_plus_ext(member.name)[0] for member in tar if member.isreg()]
    return len({key for key in keys if key is not None})
