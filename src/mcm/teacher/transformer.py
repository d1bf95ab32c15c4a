"""A small Wan-type diffusion transformer, trained by flow matching on single frames, then on clips.

Wan Team, 2025 (arXiv 2503.20314); Peebles and Xie, *DiT*, 2023 (arXiv 2212.09748); flow matching:
Lipman et al., 2023 (arXiv 2210.02747). The network is diffusers' own class.

Its rotary positions tell tokens how far apart they are, and none where it is itself. Before a word
can say where the object of a frame is, the network has to find the borders of the clip, by
comparing what neighbours hold. Asked for its own place, every token knows it within some hundred
clips, of pure noise even; so the deep supervision of the other teacher asks for that too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from mcm.backbones.attention import use_shaped_attention
from mcm.data.fluent.scene import FRAMES
from mcm.devices import best_autocast
from mcm.diffusion import FlowSchedule
from mcm.teacher.corpus import ClipCorpus, generator_of
from mcm.teacher.denoiser import Noised, TextStates
from mcm.teacher.loop import LoopConfig, train
from mcm.teacher.supervision import Supervised, supervision_losses
from mcm.teacher.text import WIDTH

SHIFT = 3.0
"""Of sampling as of training: where an object is, is decided at high noise."""

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "flow_shift": SHIFT,
}
"""Of diffusers' `UniPCMultistepScheduler`, as Wan has it."""

PATCH = 2
"""Latent positions to a token: with 1, a clip costs five times as many operations."""

_HEADS = 4
_HEAD_WIDTH = 64
_LAYERS = 10
_OWN = 10.0
"""Weight of the own places over the rest of the supervision: soon known, they then cost nothing."""

_SUPERVISED = (1, 3, 5, 7)
"""Blocks that are asked: the first has compared neighbours, the last are left to the velocity."""


def make_transformer(
    latent_channels: int, heads: int = _HEADS, layers: int = _LAYERS
) -> WanTransformer3DModel:
    """Return a fresh transformer of 11 M parameters, or of another size."""
    width = heads * _HEAD_WIDTH
    network = WanTransformer3DModel(
        patch_size=(1, PATCH, PATCH),
        num_attention_heads=heads,
        attention_head_dim=_HEAD_WIDTH,
        in_channels=latent_channels,
        out_channels=latent_channels,
        text_dim=WIDTH,
        freq_dim=256,
        ffn_dim=4 * width,
        num_layers=layers,
        cross_attn_norm=True,
        rope_max_seq_len=2 * FRAMES,
    )
    _initialise(network)
    return network


def _initialise(network: WanTransformer3DModel) -> None:
    """Draw the weights as Wan's own code does; the velocity begins at zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(network.patch_embedding.weight.flatten(1))
    embedder = network.condition_embedder
    for group in (embedder.time_embedder, embedder.text_embedder):
        for layer in (group.linear_1, group.linear_2):
            nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(network.proj_out.weight)


class SupervisedTransformer(Supervised):
    """A transformer whose blocks are asked for object and motion, and tokens for their own place.

    Args:
        network: What learns.
        frame: Height and width of a frame in tokens.
        blocks: Numbers of the blocks that are asked; those that are not there are left out.
    """

    def __init__(
        self,
        network: WanTransformer3DModel,
        frame: tuple[int, int],
        blocks: tuple[int, ...] = _SUPERVISED,
    ) -> None:
        layers = [block for number, block in enumerate(network.blocks) if number in blocks]
        width = network.config.num_attention_heads * network.config.attention_head_dim
        super().__init__(network, layers, [width] * len(layers))
        self.frame = frame
        self.axes = (network.config.rope_max_seq_len, *frame)
        self.own = nn.ModuleList(nn.Linear(width, sum(self.axes)) for _ in layers)
        for parameter in self.own.parameters():
            nn.init.zeros_(parameter)

    def _see(self, number: int, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        frames_nhwc = output.unflatten(1, (-1, *self.frame)).flatten(0, 1)
        self._seen[number] = frames_nhwc.permute(0, 3, 1, 2)

    def own_places_loss(self, frames: int) -> Tensor:
        """Return the cross-entropy of what tokens of the latest call said of their own place.

        It is summed over the three axes and averaged over heads and tokens.

        Args:
            frames: Frames of its clips.
        """
        sizes = (frames, *self.frame)
        places = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
        losses = []  # of every head and axis
        for number, head in enumerate(self.own):
            states = self._seen[number].permute(0, 2, 3, 1).flatten(0, 2)
            said = head(F.layer_norm(states, states.shape[-1:])).float()
            clips = len(said) // places[0].numel()
            for logits, place_thw in zip(said.split(self.axes, -1), places, strict=True):
                losses.append(F.cross_entropy(logits, place_thw.flatten().repeat(clips)))
        return torch.stack(losses).sum() / len(self.own)


def add_flow_noise(schedule: FlowSchedule, x0: Tensor, seed: tuple[int, ...]) -> Noised:
    """Draw timesteps, uniform before the shift, and noise for clips: x_t = (1 − t) x0 + t ε."""
    generator = generator_of(*seed)
    u_b = torch.rand(len(x0), generator=generator)
    t_b = schedule.num_timesteps * schedule.shifted(u_b)
    noise = torch.randn(x0.shape, generator=generator)
    return Noised(schedule.add_noise(x0, noise, t_b), t_b, noise - x0)


def train_transformer(
    corpus: ClipCorpus,
    text: Path,
    folder: Path,
    config: LoopConfig,
    stills: bool = False,
    batch_frames: int = 256,
    supervision: float = 0.1,
    init: Path | None = None,
    compiled: bool = False,
    minutes: float | None = None,
) -> None:
    """Train the transformer and save it as ``folder/transformer``.

    Clips are always whole: of a part of its frames a network of relative positions could not tell
    when they are.

    Args:
        corpus: The clips.
        text: Folder of tokenizer and text encoder.
        folder: Holds the run; resumed if there.
        config: The schedule.
        stills: See single frames instead of clips, which teaches looks sixteen times as fast.
        batch_frames: Frames in a batch, over all of its clips.
        supervision: Weight of the deep supervision.
        init: Folder of a transformer to begin with instead of fresh weights.
        compiled: Compile the network first; needs a C++ compiler.
        minutes: Stop after this time even if steps remain.
    """
    torch.manual_seed(config.seed)
    _, channels, total, height, width = corpus.latents_ncthw.shape
    transformer = (
        make_transformer(channels) if init is None else WanTransformer3DModel.from_pretrained(init)
    )
    use_shaped_attention(transformer)
    network = SupervisedTransformer(transformer, (height // PATCH, width // PATCH))
    if compiled:
        transformer.compile_repeated_blocks(dynamic=False)
    states = TextStates(corpus.captions, text, "zeroed")
    schedule, frames = FlowSchedule.from_scheduler_config(SCHEDULER), 1 if stills else total

    def losses(step: int) -> dict[str, Tensor]:
        index_b = corpus.draw(config.seed, step, max(batch_frames // frames, 1))
        generator = generator_of(config.seed, 1, step)
        row_b = states.draw_rows(index_b, generator)
        start_b = torch.randint(0, total - frames + 1, (len(index_b),), generator=generator)
        time_bt = start_b[:, None] + torch.arange(frames)
        x0 = corpus.latents_ncthw[index_b[:, None], :, time_bt].transpose(1, 2).float()
        noised = add_flow_noise(schedule, x0, (config.seed, 2, step))
        with best_autocast(x0.device):
            found, maps, words = network(noised.x_t, noised.t_b, states.states_ukd[row_b])
            own = network.own_places_loss(frames)
        motion_b = corpus.told_motions(index_b, row_b == states.empty)
        placement_bt5 = corpus.placement_nt5[index_b[:, None], time_bt]
        inner = supervision_losses(maps, words, placement_bt5, motion_b) | {"own": _OWN * own}
        losses = {"velocity": noised.loss(found)}
        return losses | {name: supervision * loss for name, loss in inner.items()}

    train(network, losses, lambda start: range(start, config.steps + 1), config, folder, minutes)
    transformer.save_pretrained(folder / "transformer")
