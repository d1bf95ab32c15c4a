"""The denoisers: an image UNet on single frames, then motion modules on clips.

Guo et al., *AnimateDiff*, 2023 (arXiv 2307.04725), trained in the same two stages;
v-prediction on a schedule with zero terminal SNR (Lin et al., 2023, arXiv 2305.08891).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from mcm.backbones.attention import use_folded_attention
from mcm.backbones.text import ClipText
from mcm.devices import best_autocast
from mcm.diffusion import VarianceSchedule
from mcm.teacher.corpus import LatentCorpus, generator_of
from mcm.teacher.loop import LoopConfig, train
from mcm.teacher.text import WIDTH

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}
_CHANNELS = (128, 256)
_LAYERS = 1
_HEADS = 4
_GROUPS = 32
DROP_CAPTION = 0.1


def make_image_unet(latent_channels: int, latent_size: int) -> UNet2DConditionModel:
    """Return a fresh image UNet."""
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(_CHANNELS),
        up_block_types=("CrossAttnUpBlock2D",) * len(_CHANNELS),
        block_out_channels=_CHANNELS,
        layers_per_block=_LAYERS,
        cross_attention_dim=WIDTH,
        attention_head_dim=_HEADS,
        norm_num_groups=_GROUPS,
    )


def make_motion_adapter() -> MotionAdapter:
    """Return fresh motion modules, which start as the identity."""
    adapter = MotionAdapter(
        block_out_channels=_CHANNELS,
        motion_layers_per_block=_LAYERS,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=_HEADS,
        motion_norm_num_groups=_GROUPS,
        motion_max_seq_length=32,
    )
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(parameter)
    return adapter


def load_video_unet(folder: Path) -> UNetMotionModel:
    """Load a video network, or an image UNet and give it fresh motion modules."""
    if UNetMotionModel.load_config(folder)["_class_name"] == "UNetMotionModel":
        return UNetMotionModel.from_pretrained(folder)
    return UNetMotionModel.from_unet2d(
        UNet2DConditionModel.from_pretrained(folder), make_motion_adapter()
    )


class TextStates:
    """Text states of every caption of a corpus, and of the empty prompt, computed once.

    ``padding`` is that of `ClipText`.
    """

    def __init__(
        self, captions: list[str], folder: Path, padding: Literal["counted", "zeroed"] = "counted"
    ) -> None:
        text = ClipText(
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            CLIPTextModel.from_pretrained(folder / "text_encoder"),
            padding,
        )
        unique = sorted({"", *captions})
        rows = {caption: row for row, caption in enumerate(unique)}
        self.row_n = torch.tensor([rows[caption] for caption in captions])
        self.empty = rows[""]
        self.states_ukd = torch.cat(
            [
                text.encode(unique[start : start + 256]).tokens_bld
                for start in range(0, len(unique), 256)
            ]
        )

    def draw_rows(self, index_b: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows of clips' captions, some replaced by the empty prompt's."""
        rows = self.row_n[index_b].clone()
        rows[torch.rand(len(rows), generator=generator) < DROP_CAPTION] = self.empty
        return rows


def shifted_timesteps(
    count: int, num_timesteps: int, shift: float, generator: torch.Generator
) -> Tensor:
    """Draw timesteps, more of them at high noise the larger ``shift`` is; 1 is uniform.

    u ↦ s u / (1 + (s − 1) u) of Esser et al., 2024 (arXiv 2403.03206), equation 23: a clip says
    the same thing in many frames, so its motion is decided at more noise than an image's layout.
    """
    u_b = torch.rand(count, generator=generator, dtype=torch.float64)
    return (shift * u_b / (1 + (shift - 1) * u_b) * num_timesteps).long()


@dataclass(frozen=True)
class Noised:
    """Noisy latents x_t = α x0 + σ ε, their timesteps, and the velocity α ε − σ x0."""

    x_t: Tensor
    t_b: Tensor
    velocity: Tensor

    def loss(self, found: Tensor) -> Tensor:
        """Return ‖v̂ − v‖² of a prediction, mean over elements."""
        return (found.float() - self.velocity).square().mean()


def add_noise(
    schedule: VarianceSchedule, x0: Tensor, seed: tuple[int, ...], shift: float = 1.0
) -> Noised:
    """Draw timesteps and noise for latents (b, c, …)."""
    generator = generator_of(*seed)
    t_b = shifted_timesteps(len(x0), schedule.num_timesteps, shift, generator)
    noise = torch.randn(x0.shape, generator=generator)
    alpha, sigma = (value.view(-1, *[1] * (x0.ndim - 1)) for value in schedule.alpha_sigma(t_b))
    return Noised(alpha * x0 + sigma * noise, t_b, alpha * noise - sigma * x0)


def train_image_unet(
    corpus: LatentCorpus,
    text: Path,
    folder: Path,
    config: LoopConfig,
    batch_size: int = 64,
    minutes: float | None = None,
    init: Path | None = None,
    compiled: bool = False,
) -> None:
    """Train the image UNet on single frames and save it as ``folder/unet``.

    ``init`` is the folder of an image UNet to begin with instead of fresh weights; ``compiled``
    needs a C++ compiler.
    """
    torch.manual_seed(config.seed)
    if init is None:
        unet = make_image_unet(corpus.latents_ncthw.shape[1], corpus.latents_ncthw.shape[-1])
    else:
        unet = UNet2DConditionModel.from_pretrained(init)
    train_on_frames(unet, corpus, text, folder, config, batch_size, minutes, compiled)
    unet.save_pretrained(folder / "unet")


def train_on_frames(
    unet: UNet2DConditionModel,
    corpus: LatentCorpus,
    text: Path,
    folder: Path,
    config: LoopConfig,
    batch_size: int,
    minutes: float | None,
    compiled: bool,
) -> None:
    """Train what of an image UNet has a gradient, on single frames; the run lies in ``folder``."""
    use_folded_attention(unet.to(memory_format=torch.channels_last))
    if compiled:
        unet.compile()
    states = TextStates(corpus.captions, text)
    schedule = VarianceSchedule.from_scheduler_config(SCHEDULER)

    def losses(step: int) -> dict[str, Tensor]:
        index_b = corpus.draw(config.seed, step, batch_size)
        generator = generator_of(config.seed, 1, step)
        time_b = torch.randint(0, corpus.latents_ncthw.shape[2], (batch_size,), generator=generator)
        tokens = states.states_ukd[states.draw_rows(index_b, generator)]
        noised = add_noise(schedule, corpus.frames(index_b, time_b), (config.seed, 2, step))
        x_t = noised.x_t.contiguous(memory_format=torch.channels_last)
        with best_autocast(x_t.device):
            found = unet(x_t, noised.t_b, tokens).sample
        return {"velocity": noised.loss(found)}

    train(unet, losses, lambda start: range(start, config.steps + 1), config, folder, minutes)
