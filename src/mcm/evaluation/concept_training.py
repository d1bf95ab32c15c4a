"""Train the concept judge on real frames of the train split, and measure it on evaluation clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from mcm.data.fluent import render
from mcm.data.fluent.concepts import CONCEPT_NAMES
from mcm.data.fluent.scene import FRAMES, combinations
from mcm.data.fluent.world import World
from mcm.data.samples import Sample, digest_samples
from mcm.data.sources import open_source
from mcm.errors import UserError
from mcm.evaluation.concept import ConceptJudge, ConceptNet, to_input
from mcm.teacher.loop import LoopConfig, train

Frames = NDArray[np.uint8]
Labelled = tuple[Frames, int]

DEFAULT_CONFIG = LoopConfig(steps=2400, lr=3e-3, warmup=100, weight_decay=0.05, ema_decay=0.995)
_BATCH = 64
_FRAMES_PER_CLIP = 3
_SHIFT = 4
_CALIBRATION_BATCHES = 60


def train_concept_judge(
    shards: Path,
    folder: Path,
    weights: Path,
    config: LoopConfig = DEFAULT_CONFIG,
    clips: int = 6925,
    minutes: float | None = None,
) -> ConceptNet:
    """Train the judge and write its weights in half precision; a run found is resumed.

    Args:
        shards: Folder of the video domain's train shards.
        folder: Holds the frames and the run.
        weights: The safetensors file to write.
        config: The schedule.
        clips: Number of clips to take frames from; the default passes once through every
            train combination.
        minutes: Stop after this time even if steps remain.
    """
    x_nchw, label_n = load_frames(shards, folder, clips)
    torch.manual_seed(config.seed)
    network = ConceptNet()

    def losses(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        logits_bk = network(batch[0])
        loss = nn.functional.cross_entropy(logits_bk, batch[1], label_smoothing=0.05)
        return {"cross_entropy": loss}

    def batches(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(start, config.steps + 1):
            yield draw_batch(x_nchw, label_n, config.seed, step)

    network.train()
    steps = train(network, losses, batches, config, folder, minutes)
    calibrate(network, (batch for batch, _ in batches(max(config.steps - _CALIBRATION_BATCHES, 0))))
    weights.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in _kept(network)}
    save_file(state, weights, {"steps": f"{steps} of {config.steps}"})
    return network


def _kept(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            yield name, value


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterator[Tensor]) -> None:
    """Set the statistics of every batch norm to their mean over batches, and stop training.

    Averaged weights see other activations than the weights that were trained.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    for x_bchw in batches:
        network(x_bchw)
    network.eval()


def draw_batch(x_nchw: Tensor, label_n: Tensor, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return batch ``step``: shifted, relit and slightly noisy frames in [-1, 1], and labels."""
    key = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(key) >> 1)
    index_b = torch.randint(len(label_n), (_BATCH,), generator=generator)
    x_bchw = x_nchw[index_b].float() / 127.5 - 1
    padded = nn.functional.pad(x_bchw, (_SHIFT,) * 4, mode="replicate")
    dx, dy = torch.randint(2 * _SHIFT + 1, (2,), generator=generator).tolist()
    x_bchw = padded[:, :, dy : dy + x_bchw.shape[2], dx : dx + x_bchw.shape[3]]
    gain = 1 + 0.15 * (2 * torch.rand(_BATCH, 1, 1, 1, generator=generator) - 1)
    noise = torch.rand(_BATCH, 1, 1, 1, generator=generator) * 0.06
    x_bchw = gain * x_bchw + noise * torch.randn(x_bchw.shape, generator=generator)
    return x_bchw.contiguous(memory_format=torch.channels_last), label_n[index_b]


def load_frames(shards: Path, folder: Path, clips: int) -> tuple[Tensor, Tensor]:
    """Return small real frames (n, 3, 64, 64) uint8 and labels (n,); made once, kept in a file.

    Raises:
        UserError: The shards are not there or of another kind, or the file is of other ones.
    """
    path = folder / "frames.npz"
    items = islice(open_source(shards), clips)
    source = f"{clips} {digest_samples(item for item in items if isinstance(item, Sample))}"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pairs = [*_video_frames(shards, clips), *_stills(clips)]
        part = folder / "frames.part.npz"
        frames, labels = [frame for frame, _ in pairs], [label for _, label in pairs]
        np.savez(part, frames=frames, labels=labels, source=source)
        part.replace(path)
    stored = np.load(path)
    if "source" not in stored or str(stored["source"]) != source:
        raise UserError(
            f"{path}: has the frames of other shards than {shards}; give another --output, or "
            "remove it"
        )
    return torch.from_numpy(stored["frames"]), torch.from_numpy(stored["labels"])


def small(frame_hwc: Frames) -> Frames:
    """Return a frame at the network's input size, (3, 64, 64) uint8."""
    result: Frames = ((to_input(frame_hwc[None])[0] + 1) * 127.5).round().byte().numpy()
    return result


def _video_frames(shards: Path, clips: int) -> Iterator[Labelled]:
    """Yield frames of poor clips, and for each clip one clean frame of another scene."""
    world, rng = World(), np.random.default_rng(0)
    for number, sample in enumerate(open_source(shards)):
        if number >= clips:
            return
        if not isinstance(sample, Sample) or "concept" not in sample.metadata:
            raise UserError(
                f"{shards}: {number}: no clip of the embedded world, which names its concept; "
                "expected shards of `mcm data fluent shards --domain video`"
            )
        frames_thwc = render.decode(sample.content())
        for time in rng.choice(len(frames_thwc), _FRAMES_PER_CLIP, replace=False):
            yield small(frames_thwc[time]), int(sample.metadata["concept"])
        yield clean_frame(world, clips + number, int(rng.integers(FRAMES)))


def clean_frame(world: World, number: int, time: int) -> Labelled:
    """Return one clean frame of a train scene and its concept."""
    scene = world.scene(number)
    (image,) = world.draw_scene(scene, [time])
    return small(np.asarray(image)), scene.combination.concept


def _stills(clips: int) -> Iterator[Labelled]:
    """Yield clean and flat stills of the concepts, so that students of both styles are judged."""
    world = World()
    for number in range(clips):
        still = world.still(number, "flat" if number % 3 == 0 else "image")
        if still.noun in CONCEPT_NAMES:
            yield small(np.asarray(still.image)), CONCEPT_NAMES.index(still.noun)


def measure(weights: Path) -> dict[str, float]:
    """Measure the judge on one clip of every evaluation combination; writes it beside the weights.

    Returns:
        Accuracy on poor clips, on clean clips, and the number of clips.
    """
    judge, world = ConceptJudge(weights), World()
    count = len(combinations("evaluation"))
    poor = clean = 0
    for number in range(count):
        clip = world.clip(number, "evaluation")
        label = clip.scene.combination.concept
        frames_thwc = np.stack([np.asarray(frame) for frame in clip.frames])
        clean += int(judge.logits(frames_thwc).argmax() == label)
        video, _, _ = world.poor_video(number, "evaluation")
        poor += int(judge.logits(render.decode(video)).argmax() == label)
    facts = {"poor_clips": poor / count, "clean_clips": clean / count, "count": float(count)}
    weights.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts
