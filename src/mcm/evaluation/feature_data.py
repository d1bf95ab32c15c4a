"""Real material to train the feature networks on: every scene both clean and poor, and stills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcm.data.fluent import render
from mcm.data.fluent.concepts import CONCEPT_NAMES
from mcm.data.fluent.scene import BACKGROUNDS, FRAMES, MOTIONS
from mcm.data.fluent.world import World
from mcm.evaluation.feature_nets import CLIP_SIDE, DOMAINS, FRAME_SIDE
from mcm.evaluation.features import to_side
from mcm.progress import track

Bytes = NDArray[np.uint8]

UNKNOWN = -100
"""Label of a still whose noun is none of the animated concepts; losses leave it out."""

_FRAMES_KEPT = 2

_STILLS = (1, 2)
"""Domains of stills, as numbers of `DOMAINS`."""


@dataclass(frozen=True)
class Material:
    """Pictures in [0, 255] uint8, clean beside poor, with what they show.

    Attributes:
        pairs: Clips (n, 2, t, 3, 64, 64) or frames (n, 2, 3, 128, 128), clean then poor.
        labels: Numbers by what they name, each (n,).
        captions: Captions of clips; empty for frames.
    """

    pairs: Tensor
    labels: dict[str, Tensor]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.pairs)


def clip_material(folder: Path, count: int) -> Material:
    """Return clips of the train split; made once, kept in ``folder``."""
    return _kept(folder / f"clips-{count}.npz", _clips(count), count)


def frame_material(folder: Path, count: int) -> Material:
    """Return frames of ``count`` clips and as many stills of each domain; made once, kept."""
    total = (_FRAMES_KEPT + len(_STILLS)) * count
    return _kept(folder / f"frames-{count}.npz", _frames(count), total)


def _kept(path: Path, rows: Iterator[tuple[Bytes, dict[str, int], str]], total: int) -> Material:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, list(track(rows, f"make {path.stem}", total)))
    with np.load(path) as stored:
        arrays = dict(stored)
    pairs, captions = torch.from_numpy(arrays.pop("pairs")), arrays.pop("captions").tolist()
    return Material(pairs, {k: torch.from_numpy(v) for k, v in arrays.items()}, captions)


def _write(path: Path, rows: list[tuple[Bytes, dict[str, int], str]]) -> None:
    arrays = {name: np.array([row[1][name] for row in rows]) for name in rows[0][1]}
    arrays["pairs"] = np.stack([row[0] for row in rows])
    arrays["captions"] = np.array([row[2] for row in rows])
    part = path.with_suffix(".part.npz")
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    part.replace(path)


def _clips(count: int) -> Iterator[tuple[Bytes, dict[str, int], str]]:
    world = World()
    for number in range(count):
        clean, poor, labels, caption = _both(world, number)
        pair = np.stack([_small(frames, CLIP_SIDE) for frames in (clean, poor)])
        yield pair, labels, caption


def _frames(count: int) -> Iterator[tuple[Bytes, dict[str, int], str]]:
    world, rng = World(), np.random.default_rng(0)
    for number in range(count):
        clean, poor, labels, _ = _both(world, number)
        del labels["motion"]
        for time in rng.choice(FRAMES, _FRAMES_KEPT, replace=False):
            pair = np.stack([clean[time], poor[time]])
            yield _small(pair, FRAME_SIDE), {**labels, "domain": 0}, ""
    for domain, number in ((d, n) for d in _STILLS for n in range(count)):
        yield _still(world, number, domain)


def _both(world: World, number: int) -> tuple[Bytes, Bytes, dict[str, int], str]:
    """Return a scene's clean and poor frames (t, h, w, 3), its labels and caption."""
    clip = world.clip(number)
    named = clip.scene.combination
    labels = {
        "concept": named.concept,
        "background": list(BACKGROUNDS).index(named.background),
        "motion": MOTIONS.index(named.motion),
    }
    poor = render.decode(render.encode_poor([render.spoil(frame) for frame in clip.frames]))
    return np.stack([np.asarray(frame) for frame in clip.frames]), poor, labels, clip.caption


def _still(world: World, number: int, domain: int) -> tuple[Bytes, dict[str, int], str]:
    still = world.still(number, "image" if DOMAINS[domain] == "image" else "flat")
    pair = np.stack([np.asarray(still.image), np.asarray(render.spoil(still.image))])
    known = still.noun in CONCEPT_NAMES
    colour = next(name for name in BACKGROUNDS if f"{name} back" in still.caption)
    labels = {
        "concept": CONCEPT_NAMES.index(still.noun) if known else UNKNOWN,
        "background": list(BACKGROUNDS).index(colour),
        "domain": domain,
    }
    return _small(pair, FRAME_SIDE), labels, ""


def _small(frames_thwc: Bytes, side: int) -> Bytes:
    """Return frames as (t, 3, side, side) uint8."""
    pixels: Bytes = ((to_side(frames_thwc, side) + 1) * 127.5).round().byte().numpy()
    return pixels
