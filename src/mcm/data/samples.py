"""Samples, the sources that yield them, and the report on those that had to be skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from mcm.data.files import write_atomically
from mcm.digests import digest_json
from mcm.errors import UserError

Reason = Literal[
    "missing",
    "unreadable",
    "corrupt",
    "unknown codec",
    "no video",
    "zero-length",
    "too short",
    "too large",
    "not single-channel",
    "no media",
    "no caption",
]
_FEWEST_TO_JUDGE = 16


class SampleError(UserError):
    """One sample that cannot be used.

    Attributes:
        file: The file, or `shard.tar/member`, as the user knows it.
        reason: One of `Reason`.
        detail: What was found and what was expected.
    """

    def __init__(self, file: str, reason: Reason, detail: str) -> None:
        super().__init__(f"{file}: {reason}: {detail}")
        self.file = file
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Sample:
    """One video or image with its caption.

    Attributes:
        key: Name without suffix, unique inside its shard or folder.
        caption: What it shows; never empty.
        media: Content of the file, or where it is.
        file: The file as the user knows it (`clips/a.mp4`, `shard-000000.tar/a.mp4`).
        metadata: Everything else that came with the caption.
    """

    key: str
    caption: str
    media: bytes | Path
    file: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """Suffix of the file, lower case, without the dot."""
        return PurePosixPath(self.file).suffix.lower().lstrip(".")

    def content(self) -> bytes:
        """Return the content of the file."""
        return self.media if isinstance(self.media, bytes) else self.media.read_bytes()


def digest_samples(samples: Iterable[Sample]) -> str:
    """Return a digest of keys, captions and content: other files under old names are others."""
    return digest_json([[s.key, s.caption, sha256(s.content()).hexdigest()] for s in samples])


class SampleSource(Protocol):
    """Samples in an order that is the same every time.

    A sample that is known to be bad comes as its `SampleError`, in its place, so that it can be
    counted and named.
    """

    def __iter__(self) -> Iterator[Sample | SampleError]:
        """Yield every sample."""

    def length(self) -> int | None:
        """Return how many there are, or `None` when that is not known beforehand."""


@dataclass
class SkipReport:
    """Counts what was used, names what was not, and stops when too much is bad.

    Attributes:
        path: The `skipped.jsonl` to write, or `None`.
        most_bad: Fraction of bad samples above which the data is probably the wrong data.
        used: Samples used so far.
        skipped: The others.
    """

    path: Path | None = None
    most_bad: float = 0.5
    used: int = 0
    skipped: list[SampleError] = field(default_factory=list)

    def only_good(self, items: Iterable[Sample | SampleError]) -> Iterator[Sample]:
        """Yield the samples and record the errors.

        Raises:
            UserError: More than `most_bad` of the samples are bad.
        """
        for item in items:
            if isinstance(item, SampleError):
                self.skip(item)
            else:
                self.used += 1
                yield item
        self.check()

    def skip(self, error: SampleError) -> None:
        """Record a bad sample.

        Raises:
            UserError: Of at least 16 samples more than `most_bad` are bad.
        """
        self.skipped.append(error)
        if self.used + len(self.skipped) >= _FEWEST_TO_JUDGE:
            self.check()

    def check(self) -> None:
        """Write the report and raise when too many samples are bad.

        Raises:
            UserError: More than `most_bad` of the samples are bad.
        """
        if len(self.skipped) <= self.most_bad * (self.used + len(self.skipped)):
            return
        self.write()
        where = f"; all are named in {self.path}" if self.path else ""
        raise UserError(
            f"{self.summary()}: more than {self.most_bad:.0%} are bad, so this is probably not the "
            f"data you meant; the last one is {self.skipped[-1]}{where}"
        )

    def summary(self) -> str:
        """Return a line such as `3 of 120 samples skipped (2 corrupt, 1 too short)`."""
        total = self.used + len(self.skipped)
        reasons = Counter(error.reason for error in self.skipped).most_common()
        listed = ", ".join(f"{count} {reason}" for reason, count in reasons)
        return f"{len(self.skipped)} of {total} samples skipped" + (
            f" ({listed})" if listed else ""
        )

    def write(self) -> None:
        """Write one JSON object (file, reason, detail) a line to `path`, atomically."""
        if self.path is None:
            return
        rows = [{"file": e.file, "reason": e.reason, "detail": e.detail} for e in self.skipped]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomically(self.path, text.encode())


def read_skipped(path: Path, count: int) -> list[SampleError]:
    """Return the first `count` records of a `skipped.jsonl`."""
    if count == 0:
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]
    return [SampleError(row["file"], row["reason"], row["detail"]) for row in rows]
