"""Motion modules on clips: the second stage of AnimateDiff's training (arXiv 2307.04725)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNetMotionModel
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor

from mcm.backbones.animatediff import MOTION_MARK
from mcm.backbones.attention import use_folded_attention
from mcm.devices import best_autocast
from mcm.diffusion import VarianceSchedule
from mcm.teacher.corpus import ClipCorpus, LatentCorpus, generator_of
from mcm.teacher.denoiser import SCHEDULER, TextStates, add_noise, load_video_unet
from mcm.teacher.loop import LoopConfig, train
from mcm.teacher.supervision import Supervised, supervision_losses

_SCHEDULE = VarianceSchedule.from_scheduler_config(SCHEDULER)


class Places:
    """Lets a video network see a few frames of a clip at their own places in time.

    The fewer frames a network sees, the more it must rely on the words to know where in its
    motion an object is; and many clips of few frames cost as little as few clips of many.
    """

    def __init__(self, network: UNetMotionModel) -> None:
        modules = (m for m in network.modules() if isinstance(m, SinusoidalPositionalEmbedding))
        self._tables = [(module.pe, module.pe.clone()) for module in modules]

    def set(self, place_t: Tensor) -> None:
        """Tell the motion modules at which places of a clip the frames are that they get."""
        for table, whole in self._tables:
            table[:, : len(place_t)] = whole[:, place_t]

    def reset(self) -> None:
        """Go back to frames 0, 1, 2 and so on."""
        for table, whole in self._tables:
            table.copy_(whole)


def draw_places(total: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw rising places of ``count`` of ``total`` frames, one of each of ``count`` like parts."""
    edges = torch.arange(count + 1) * total // count
    share = torch.rand(count, generator=generator, dtype=torch.float64)
    return edges[:-1] + (share * edges.diff()).long()


@dataclass(frozen=True)
class ClipSettings:
    """What a step sees.

    Attributes:
        frames: How many frames of each clip are seen, spread over all of it: the steps take
            these numbers in turn.
        batch_frames: Frames in a batch, over all of its clips.
        shift: Draws more timesteps at high noise, where motion is decided.
        supervision: Weight of the deep supervision.
    """

    frames: Sequence[int] = (4,)
    batch_frames: int = 128
    shift: float = 3.0
    supervision: float = 0.1


@dataclass(frozen=True)
class ClipLosses:
    """The losses of a step on clips, a pure function of its number.

    Attributes:
        network: The video network and its heads.
        corpus: The clips; deep supervision takes a :class:`ClipCorpus`.
        states: Text states of its captions.
        places: Of the network.
        seed: Of every draw.
        settings: What a step sees.
    """

    network: Supervised
    corpus: LatentCorpus
    states: TextStates
    places: Places
    seed: int
    settings: ClipSettings

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Return the velocity's loss and those of deep supervision."""
        ours = self.settings
        seen = ours.frames[step % len(ours.frames)]
        index_b = self.corpus.draw(self.seed, step, max(ours.batch_frames // seen, 1))
        generator = generator_of(self.seed, 1, step)
        row_b = self.states.draw_rows(index_b, generator)
        place_t = draw_places(self.corpus.latents_ncthw.shape[2], seen, generator)
        self.places.set(place_t)
        x0 = self.corpus.clips(index_b)[:, :, place_t]
        noised = add_noise(_SCHEDULE, x0, (self.seed, 2, step), ours.shift)
        with best_autocast(x0.device):
            found, maps, words = self.network(noised.x_t, noised.t_b, self.states.states_ukd[row_b])
        losses = {"velocity": noised.loss(found)}
        if isinstance(self.corpus, ClipCorpus):
            motion_b = self.corpus.told_motions(index_b, row_b == self.states.empty)
            placement_bt5 = self.corpus.placement_nt5[index_b][:, place_t]
            inner = supervision_losses(maps, words, placement_bt5, motion_b)
            losses |= {name: ours.supervision * loss for name, loss in inner.items()}
        return losses


def train_motion(
    corpus: LatentCorpus,
    text: Path,
    start: Path,
    folder: Path,
    config: LoopConfig,
    settings: ClipSettings,
    image_factor: float = 0.5,
    compiled: bool = False,
    minutes: float | None = None,
) -> None:
    """Train motion modules on clips and save the whole network as ``folder/motion_unet``.

    Args:
        corpus: The clips.
        text: Folder of tokenizer and text encoder.
        start: Folder of an image UNet, or of a video network to go on with.
        folder: Holds the run; resumed if there.
        config: The schedule.
        settings: What a step sees.
        image_factor: Factor of the image layers' learning rate, which have learnt before; 0
            keeps them as they are. They read the words of motion, so they should go on learning.
        compiled: Compile the network first; needs a C++ compiler.
        minutes: Stop after this time even if steps remain.
    """
    torch.manual_seed(config.seed)
    unet = load_video_unet(start)
    use_folded_attention(unet.to(memory_format=torch.channels_last))
    if image_factor == 0:
        unet.freeze_unet2d_params()
    places = Places(unet)
    network = supervised(unet, isinstance(corpus, ClipCorpus))
    if compiled:
        network.compile(dynamic=False)
    states = TextStates(corpus.captions, text)
    losses = ClipLosses(network, corpus, states, places, config.seed, settings)

    def factor_of(name: str) -> float:
        return 1.0 if not name.startswith("network.") or MOTION_MARK in name else image_factor

    train(
        network,
        losses,
        lambda first: range(first, config.steps + 1),
        config,
        folder,
        minutes,
        factor_of,
    )
    places.reset()
    unet.save_pretrained(folder / "motion_unet")


def supervised(unet: UNetMotionModel, asked: bool = True) -> Supervised:
    """Return a video UNet with heads on the outputs of all its motion modules, or with none."""
    layers = [m for m in unet.modules() if asked and isinstance(m, AnimateDiffTransformer3D)]
    return Supervised(unet, layers, [layer.proj_out.out_features for layer in layers])
