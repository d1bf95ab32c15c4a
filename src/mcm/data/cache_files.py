"""The files of a cache.

A cache folder holds

- `index.json`: backbone, settings, the list of shards and how far the source was read;
- `samples-NNNNN.safetensors`: per sample `latents` (n c t h w), `pixels` (n h w 3) or `frames`
  (n k h w 3) with `frame_indices` (n k), and the `caption` row (n); the header holds the keys;
- `captions-NNNNN.safetensors`: `tokens` (m l d), `pooled` (m d) and perhaps `mask` (m l) of the
  captions first met in that shard; row 0 of the first is the empty caption; the header holds
  the captions;
- `skipped.jsonl`: the samples left out, with reasons.

`index.json` is written last: what it does not name does not count and is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from mcm.backbones.base import BackboneSpec, Condition
from mcm.data.files import write_atomically
from mcm.errors import UserError

INDEX = "index.json"
SKIPPED = "skipped.jsonl"
VERSION = 1
_HEADER = "mcm"


class Encoder(Protocol):
    """The part of `mcm.backbones.base.Backbone` that makes a cache.

    Pixels are handed over on the CPU; the backbone moves them to where it computes.
    """

    @property
    def spec(self) -> BackboneSpec:
        """What the model is made for."""

    def encode_video(self, video_bcthw: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] to scaled latents (b c t h w)."""

    def decode_frames(self, latents_bcthw: Tensor) -> Tensor:
        """Decode all frames to pixels (b t 3 h w) in about [-1, 1]."""

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        """Return the text states of prompts."""

    def cut_prompt(self, prompt: str) -> str:
        """Return the part of a prompt over the token limit, or an empty string."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the encoders."""


@dataclass(frozen=True)
class Shard:
    """How many samples and how many new captions shard number n has."""

    samples: int
    captions: int


@dataclass
class Index:
    """Content of `index.json`.

    Attributes:
        backbone: `identity` of the backbone that encoded.
        settings: How the samples were read.
        shards: The finished shards.
        items_read: Items of the source that were read for them, the skipped ones included.
        last_item: File of the last of these items.
        skipped: How many of the items were skipped.
        captions_cut: Captions that were over the backbone's token limit.
        complete: Whether the source was read to its end, or to the limit asked for.
    """

    backbone: dict[str, Any]
    settings: dict[str, Any]
    shards: list[Shard] = field(default_factory=list)
    items_read: int = 0
    last_item: str | None = None
    skipped: int = 0
    captions_cut: int = 0
    complete: bool = False

    @property
    def samples(self) -> int:
        """Number of samples in the cache."""
        return sum(shard.samples for shard in self.shards)

    def save(self, folder: Path) -> None:
        """Write `index.json` in one atomic move."""
        text = json.dumps({"version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False)
        write_atomically(folder / INDEX, text.encode())


def load_index(folder: Path) -> Index:
    """Read `index.json`.

    Raises:
        UserError: There is none, or this version of mcm cannot read it.
    """
    try:
        values = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if values.pop("version") != VERSION:
            raise UserError(f"{folder}: a cache of another version of mcm; make it again")
        shards = [Shard(**shard) for shard in values.pop("shards")]
        return Index(shards=shards, **values)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: no cache here (no {INDEX}); make one with `mcm data cache`"
        ) from None
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / INDEX}: damaged ({error}); make the cache again") from None


def identity(backbone: Encoder) -> dict[str, Any]:
    """Return what a cache depends on in a backbone, as plain JSON values."""
    spec = backbone.spec
    names = ("family", "latent_channels", "spatial_factor", "temporal_factor", "max_tokens")
    values = {name: getattr(spec, name) for name in names} | {"encoders": backbone.fingerprint()}
    return dict(json.loads(json.dumps(values)))


def check_identity(folder: Path, index: Index, backbone: Encoder) -> None:
    """Raise when a cache was made with another backbone.

    Raises:
        UserError: Names both backbones and what differs.
    """
    ours = identity(backbone)
    if ours == index.backbone:
        return
    differing = ", ".join(name for name in ours if ours[name] != index.backbone.get(name))
    raise UserError(
        f"{folder}: the cache was made with another backbone: {_describe(index.backbone)}; "
        f"this one is {_describe(ours)} (differing: {differing}). "
        "Use that backbone, or make a cache in another folder"
    )


def samples_file(folder: Path, number: int) -> Path:
    """Return the file of a shard's samples."""
    return folder / f"samples-{number:05}.safetensors"


def captions_file(folder: Path, number: int) -> Path:
    """Return the file of the captions first met in a shard."""
    return folder / f"captions-{number:05}.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """Write tensors of n rows and the n names of the rows, atomically; equal input, equal bytes."""
    from safetensors.torch import save

    header = {_HEADER: json.dumps(list(names), ensure_ascii=False)}
    whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_atomically(path, save(whole, metadata=header))


def read_names(file: Any) -> list[str]:
    """Return the names of the rows of an open safetensors file."""
    return list(json.loads(file.metadata()[_HEADER]))


def _describe(backbone: Mapping[str, Any]) -> str:
    encoders = backbone.get("encoders", {})
    facts = ", ".join(f"{name} {str(value)[:24]}" for name, value in encoders.items())
    return f"{backbone.get('family')} ({facts})"
