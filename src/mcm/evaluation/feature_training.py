"""Train the feature networks on real material, by what it shows and how it was spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mcm.data.fluent.captions import prompt
from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import BACKGROUNDS, MOTIONS, Combination
from mcm.evaluation.concept_training import calibrate
from mcm.evaluation.corruption import PLAYBACKS, played, spoilt
from mcm.evaluation.feature_data import UNKNOWN, Material, clip_material, frame_material
from mcm.evaluation.feature_nets import ClipNet, FrameNet
from mcm.evaluation.features import Vocabulary
from mcm.teacher.corpus import generator_of
from mcm.teacher.loop import LoopConfig, train

CLIP_CONFIG = LoopConfig(steps=2000, lr=2e-3, warmup=100, weight_decay=0.05, ema_decay=0.995)
FRAME_CONFIG = LoopConfig(steps=3000, lr=2e-3, warmup=100, weight_decay=0.05, ema_decay=0.995)
_CLIPS, _FRAMES = 24, 64
_TEMPERATURE = 0.07
_CALIBRATION_BATCHES = 30


def train_frame_net(
    folder: Path,
    weights: Path,
    config: LoopConfig = FRAME_CONFIG,
    count: int = 4000,
    minutes: float | None = None,
) -> None:
    """Train the network of single frames and write it in half precision; a run found is resumed.

    Args:
        folder: Holds the material and the run.
        weights: The safetensors file to write.
        config: The schedule.
        count: Clips to take frames from, and stills of each domain.
        minutes: Stop after this time even if steps remain.
    """
    material = frame_material(folder, count)
    torch.manual_seed(config.seed)
    network = FrameNet()

    def losses(step: int) -> dict[str, Tensor]:
        x, labels, measures = frame_batch(material, config.seed, step)
        return head_losses(network.heads, network(x), labels, measures)

    network.train()
    train(network, losses, _steps_to(config.steps), config, folder / "frames", minutes)
    calibrate(network, (frame_batch(material, config.seed, s)[0] for s in _last(config)))
    _write(network, weights)


def train_clip_net(
    folder: Path,
    weights: Path,
    config: LoopConfig = CLIP_CONFIG,
    count: int = 4000,
    minutes: float | None = None,
) -> None:
    """Train the network of clips and captions; arguments as :func:`train_frame_net`."""
    material = clip_material(folder, count)
    vocabulary = Vocabulary.of([*material.captions, *_plain_prompts()])
    torch.manual_seed(config.seed)
    network = ClipNet(len(vocabulary))

    def losses(step: int) -> dict[str, Tensor]:
        x, labels, measures, captions = clip_batch(material, config.seed, step)
        features = network(x)
        cosines = network.alignment(features, vocabulary.tokens(captions))
        return {
            **head_losses(network.heads, features, labels, measures),
            "alignment": alignment_loss(cosines, labels["playback"] == 0),
        }

    network.train()
    train(network, losses, _steps_to(config.steps), config, folder / "clips", minutes)
    calibrate(network, (clip_batch(material, config.seed, s)[0] for s in _last(config)))
    _write(network, weights)
    words = json.dumps({"words": vocabulary.words}, indent=1)
    weights.with_suffix(".json").write_text(words + "\n", encoding="utf-8")


def frame_batch(
    material: Material, seed: int, step: int
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return frames (b, 3, 128, 128), their labels, and how they were spoilt (b, 2)."""
    generator = generator_of(seed, step)
    index_b = torch.randint(len(material), (_FRAMES,), generator=generator)
    x_b1chw, measures_b2 = spoilt(material.pairs[index_b][:, :, None], generator)
    labels = {name: values[index_b] for name, values in material.labels.items()}
    return x_b1chw[:, 0].contiguous(memory_format=torch.channels_last), labels, measures_b2


def clip_batch(
    material: Material, seed: int, step: int
) -> tuple[Tensor, dict[str, Tensor], Tensor, list[str]]:
    """Return clips (b, t, 3, 64, 64), labels, spoiling (b, 2), and their captions, then wrong ones.

    Half of the clips play forward; of the others the motion is unknown.
    """
    generator = generator_of(seed, step)
    index_b = torch.randint(len(material), (_CLIPS,), generator=generator)
    labels = {name: values[index_b] for name, values in material.labels.items()}
    playback_b = torch.randint(2 * len(PLAYBACKS) - 2, (_CLIPS,), generator=generator)
    playback_b[playback_b >= len(PLAYBACKS)] = 0
    captions = [material.captions[n] for n in index_b.tolist()]
    captions += _wrong_captions(labels, generator)
    x_btchw, measures_b2 = spoilt(material.pairs[index_b], generator)
    motion_b = labels["motion"].masked_fill(playback_b != 0, UNKNOWN)
    labels = {**labels, "motion": motion_b, "playback": playback_b}
    return played(x_btchw, playback_b, generator), labels, measures_b2, captions


def head_losses(
    heads: nn.ModuleDict, features_bd: Tensor, labels: dict[str, Tensor], measures_bm: Tensor
) -> dict[str, Tensor]:
    """Return the losses of naming what is there and measuring how it was spoilt."""
    normal = F.layer_norm(features_bd, features_bd.shape[1:])
    losses = {
        name: F.cross_entropy(heads[name](normal), label, ignore_index=UNKNOWN)
        for name, label in labels.items()
    }
    return losses | {"measures": 4 * F.mse_loss(heads["measures"](normal), measures_bm)}


def alignment_loss(cosines_bn: Tensor, forward_b: Tensor) -> Tensor:
    """Return the contrastive loss of clips that play forward, both ways (Radford et al., 2021).

    The first b captions are the clips' own, in order; more are wrong for every clip.
    """
    batch = len(cosines_bn)
    own = torch.arange(batch)[forward_b]
    to_text = F.cross_entropy(cosines_bn[forward_b] / _TEMPERATURE, own)
    to_clip = F.cross_entropy(cosines_bn[:, :batch].T[forward_b] / _TEMPERATURE, own)
    return (to_text + to_clip) / 2


def _wrong_captions(labels: dict[str, Tensor], generator: torch.Generator) -> list[str]:
    """Return for each clip three captions that are wrong in concept, motion or background."""
    counts = {"concept": len(CONCEPTS), "motion": len(MOTIONS), "background": len(BACKGROUNDS)}
    wrong = []
    for row in range(len(labels["concept"])):
        facts = {name: int(labels[name][row]) for name in counts}
        for name, count in counts.items():
            shift = int(torch.randint(1, count, (1,), generator=generator))
            wrong.append(_prompt({**facts, name: (facts[name] + shift) % count}))
    return wrong


def _prompt(facts: dict[str, int]) -> str:
    background = list(BACKGROUNDS)[facts["background"]]
    return prompt(Combination(facts["concept"], MOTIONS[facts["motion"]], background))


def _plain_prompts() -> Iterator[str]:
    for concept in range(len(CONCEPTS)):
        for motion in range(len(MOTIONS)):
            yield _prompt({"concept": concept, "motion": motion, "background": 0})


def _steps_to(last: int) -> Callable[[int], Iterator[int]]:
    return lambda start: iter(range(start, last + 1))


def _last(config: LoopConfig) -> range:
    return range(max(config.steps - _CALIBRATION_BATCHES, 0), config.steps)


def _write(network: nn.Module, weights: Path) -> None:
    weights.parent.mkdir(parents=True, exist_ok=True)
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    save_file({name: value.half().contiguous() for name, value in state.items()}, weights)
