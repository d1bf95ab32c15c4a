"""Motion modules on clips: the second stage of AnimateDiff's training (arXiv 2307.04725)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import UNetMotionModel
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import Tensor

from mcm.backbones.attention import use_folded_attention
from mcm.diffusion import VarianceSchedule
from mcm.teacher.corpus import ClipCorpus, generator_of
from mcm.teacher.denoiser import SCHEDULER, TextStates, load_video_unet, velocity_loss
from mcm.teacher.loop import LoopConfig, train


class Places:
    """Lets a video network see a few frames of a clip at their own places in time.

    A clip says its motion in a few frames as well as in all, so that more clips are learnt from
    in the same time.
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


def train_motion(
    corpus: ClipCorpus,
    text: Path,
    start: Path,
    folder: Path,
    config: LoopConfig,
    batch_size: int = 16,
    frames: int = 8,
    image_factor: float = 0.5,
    shift: float = 3.0,
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
        batch_size: Clips in a batch.
        frames: How many frames of each clip are seen, spread over all of it.
        image_factor: Factor of the image layers' learning rate, which have learnt before; 0
            keeps them as they are. They read the words of motion, so they should go on learning.
        shift: Draws more timesteps at high noise, where motion is decided.
        compiled: Compile the network first; needs a C++ compiler.
        minutes: Stop after this time even if steps remain.
    """
    torch.manual_seed(config.seed)
    unet = load_video_unet(start)
    use_folded_attention(unet.to(memory_format=torch.channels_last))
    if image_factor == 0:
        unet.freeze_unet2d_params()
    if compiled:
        unet.compile()
    places = Places(unet)
    states = TextStates(corpus.captions, text)
    schedule = VarianceSchedule.from_scheduler_config(SCHEDULER)

    def losses(step: int) -> dict[str, Tensor]:
        index_b = corpus.draw(config.seed, step, batch_size)
        generator = generator_of(config.seed, 1, step)
        tokens = states.draw(index_b, generator)
        place_t = draw_places(corpus.latents_ncthw.shape[2], frames, generator)
        places.set(place_t)
        x0 = corpus.clips(index_b)[:, :, place_t]
        return {
            "velocity": velocity_loss(unet, schedule, x0, tokens, (config.seed, 2, step), shift)
        }

    def batches(start: int) -> Iterator[int]:
        return iter(range(start, config.steps + 1))

    def factor_of(name: str) -> float:
        return 1.0 if "motion_modules." in name else image_factor

    train(unet, losses, batches, config, folder, minutes, factor_of)
    places.reset()
    unet.save_pretrained(folder / "motion_unet")
