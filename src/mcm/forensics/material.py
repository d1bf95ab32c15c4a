"""Clips to train and judge the detector on: sources, what is done to their clips, their traces.

A source is `clean` or `poor` (the embedded world's video), `files:FOLDER` (videos of any kind),
`decoded:MODEL` (real video through a model's autoencoder: the traces of its decoder alone), or a
model as `mcm evaluate` takes it, such as `fluent:sampler=unipc@4,8`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np

from mcm.data.fluent import render
from mcm.data.fluent.captions import prompt
from mcm.data.fluent.scene import Split
from mcm.data.fluent.world import World
from mcm.errors import UserError
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.contenders import parse_contender, weights_digest
from mcm.evaluation.embedded import Request
from mcm.evaluation.metric import Observation
from mcm.evaluation.protocol import FluentProtocol
from mcm.evaluation.runs import Row, observe_all
from mcm.forensics import distortions
from mcm.forensics.distortions import Distortion, Frames
from mcm.progress import progress
from mcm.safety.footage import first_frames
from mcm.safety.traces import LEAST_FRAMES, trace_names, traces
from mcm.safety.watermark import embed
from mcm.sampling.loading import load

TRAINED: Mapping[str, Distortion] = {
    "none": lambda frames: frames,
    "H.264 crf 18": distortions.h264(18),
    "H.264 crf 28": distortions.h264(28),
    "GIF palette": distortions.gif,
    "H.264 crf 30, then 23": distortions.one_after_other(
        distortions.h264(30), distortions.h264(23)
    ),
    "resize 0.75, crf 23": distortions.one_after_other(
        distortions.scale(0.75), distortions.h264(23)
    ),
}
"""What is done to clips to learn from; the last two take away what a file's history would tell."""
UNSEEN: Mapping[str, Distortion] = {
    "H.264 crf 35": distortions.h264(35),
    "VP9 crf 32": distortions.vp9,
    "WebP": distortions.webp,
    "resize 1.5, crf 23": distortions.one_after_other(distortions.scale(1.5), distortions.h264(23)),
}
"""What the detector is judged under beside those, and never learns from."""

REAL = ("clean", "poor")
_FILES, _DECODED = "files:", "decoded:"
_EVERY_FIFTH = 5


@dataclass(frozen=True)
class Source:
    """Clips of one kind.

    Attributes:
        name: As in tables.
        generated: What the detector should say.
        make: Gives the clip of a request.
        weights: Digest of the model's, so that rows of others are not taken for its own.
        most: How many there are; ``None`` for as many as wanted.
    """

    name: str
    generated: bool
    make: Callable[[Request, Split], Frames]
    weights: str = ""
    most: int | None = None


@dataclass(frozen=True)
class Traced:
    """Sees the traces of a clip after a distortion.

    Half of all clips, real and generated alike, bear the watermark, so that it tells nothing.
    """

    name: str
    distortion: Distortion

    def observe(self, clip: EvaluationClip) -> Observation:
        """Return the traces; nothing of a clip that is too short."""
        if len(clip.frames_thwc) < LEAST_FRAMES:
            return {}
        chance = crc32(f"{clip.key} {self.name}".encode())
        frames = embed(clip.frames_thwc, chance) if chance & 1 else clip.frames_thwc
        seen = traces(self.distortion(frames))
        return {"traces": [round(float(value), 4) for value in seen]}


def sources(real: Sequence[str], generated: Sequence[str]) -> list[Source]:
    """Return the sources that texts name, as the head of this module says.

    Raises:
        UserError: A text names none, or two name the same.
    """
    found = [_world(text) if text in REAL else _files(text, False) for text in real]
    for text in generated:
        found += [_files(text, True)] if text.startswith(_FILES) else _models(text)
    names = [source.name for source in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"sources: {twice!r} is named twice")
    return found


def collect(
    source: Source,
    split: Split,
    count: int,
    done_to_them: Mapping[str, Distortion],
    folder: Path,
) -> list[Row]:
    """Return the traces of a source's clips; what a broken run left in ``folder`` is kept."""
    world = World()
    requests = [
        Request(f"{number:05}", prompt(world.scene(number, split).combination), number)
        for number in range(min(count, source.most or count))
    ]
    header = {
        "source": source.name,
        "generated": source.generated,
        "weights": source.weights,
        "split": split,
        "traces": len(trace_names()),
        "distortions": list(done_to_them),
    }

    def make(request: Request) -> EvaluationClip:
        return EvaluationClip(request.key, source.make(request, split), request.prompt)

    observers = [Traced(name, distortion) for name, distortion in done_to_them.items()]
    name = re.sub(r"[^\w.=-]+", "-", source.name).strip("-")
    path = folder / f"{name}.jsonl"
    with progress(source.name, len(requests)) as bar:
        return observe_all(make, requests, observers, path, header, lambda *_: bar.advance())


def held_apart(key: str) -> bool:
    """Whether clips of this key calibrate: every fifth scene, whatever the source."""
    return int(key) % _EVERY_FIFTH == _EVERY_FIFTH - 1


def _world(look: str) -> Source:
    return Source(look, False, lambda request, split: real_clip(look, request.seed, split))


def real_clip(look: str, number: int, split: Split) -> Frames:
    """Return a clip of the embedded world, uint8, (t, h, w, 3)."""
    world = _the_world()
    if look == "poor":
        return render.decode(world.poor_video(number, split)[0])
    images = world.clip(number, split).frames
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


@cache
def _the_world() -> World:
    return World()


def _files(text: str, generated: bool) -> Source:
    folder = Path(text.removeprefix(_FILES)).expanduser()
    if not text.startswith(_FILES) or not folder.is_dir():
        known = ", ".join(REAL)
        raise UserError(f"real clips: got {text!r}, expected {known} or files:FOLDER")
    videos = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (frames := first_frames(path)) is not None
        and len(frames) >= LEAST_FRAMES
    ]
    if not videos:
        raise UserError(f"{text}: holds no video of {LEAST_FRAMES} frames or more")

    def make(request: Request, split: Split) -> Frames:
        frames = first_frames(videos[request.seed])
        assert frames is not None, videos[request.seed]
        return frames

    return Source(text, generated, make, most=len(videos))


def _models(text: str) -> list[Source]:
    if text.startswith(_DECODED):
        return [_decoded(text)]
    contender, protocol = parse_contender(text, (4,)), FluentProtocol(frames=None, size=None)

    def of(steps: int) -> Callable[[Request, Split], Frames]:
        return lambda request, split: contender.make(request, steps, protocol).frames_thwc

    digest = weights_digest(contender.model)
    return [
        Source(f"{contender.label}@{steps}", True, of(steps), digest) for steps in contender.steps
    ]


def _decoded(text: str) -> Source:
    """Return real clips, clean and poor in turn, through a model's autoencoder."""
    name = text.removeprefix(_DECODED)
    model, digest = load(name), weights_digest(name)

    def make(request: Request, split: Split) -> Frames:
        frames = real_clip(REAL[request.seed % 2], request.seed, split)
        return model.reconstruct(frames)

    return Source(text, True, make, digest)
