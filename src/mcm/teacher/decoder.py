"""A sharper decoder for latents that stay as they are.

Mean errors ask for the mean of all frames that a latent may stand for, which is blurred; a critic
of small crops asks for one of them (Esser et al., *Taming Transformers*, 2021, arXiv 2012.09841).
Poor video stays as blurred as it was: its latents say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mcm.appearance import Critic, CriticConfig
from mcm.appearance.features import make_features
from mcm.data.fluent.world import World
from mcm.devices import best_autocast
from mcm.teacher.autoencoder import (
    LATENT_CHANNELS,
    WorldFrames,
    keep_encoder,
    make_autoencoder,
    rescale_latents,
    save_autoencoder,
)
from mcm.teacher.corpus import generator_of
from mcm.teacher.loop import LoopConfig, train

CROP = 64
_NOISE = 0.15
_FEATURE_LEVELS = (0, 1)
_PENALTY = 0.1
"""Weight γ of the critic's gradient penalty on real crops."""

_CRITIC_RATE = 2.0
"""Learning rate of the critic over the decoder's."""


class SharpDecoder(nn.Module):
    """An autoencoder whose decoder learns, and the critic that it may learn from.

    Args:
        model: Its encoder is left alone.
        perceptual: Weight of the distance in features of a frozen ImageNet network.
        adversarial: Weight of the critic; 0 does without it. A decoder that is far from the
            pictures is not for a critic, which tells its frames at once and leads it astray.
    """

    def __init__(
        self, model: AutoencoderDC, perceptual: float = 0.5, adversarial: float = 0.1
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = {"pixel": 1.0, "perceptual": perceptual, "adversarial": adversarial}
        self.critic = _make_critic() if adversarial > 0 else None
        self.features = make_features("efficientnet", levels=_FEATURE_LEVELS, size=CROP)

    def losses(self, x_bchw: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the decoder's weighted losses and the critic's on crops in [-1, 1]."""
        generator = generator_of(seed, 11)
        with torch.no_grad():
            z = self.model.encode(x_bchw).latent
            noise = _NOISE * torch.rand(len(z), 1, 1, 1, generator=generator)
            z = z + noise * torch.randn(z.shape, generator=generator)
        with best_autocast(z.device):
            y = self.model.decode(z).sample.float()
        losses = {
            "pixel": (y - x_bchw).abs().mean() + (y - x_bchw).square().mean(),
            "perceptual": self.perceptual(y, x_bchw),
        }
        own: dict[str, Tensor] = {}
        if self.critic is not None:
            text = x_bchw.new_zeros(len(x_bchw), 1)
            losses["adversarial"] = self.critic.generator_loss(y, text, generator)
            own["critic"] = self.critic.critic_loss(x_bchw, y, text, text, generator)["loss"]
        return {name: self.weights[name] * loss for name, loss in losses.items()} | own

    def perceptual(self, y_bchw: Tensor, x_bchw: Tensor) -> Tensor:
        """Return the mean distance of normalised features (as LPIPS without its weights)."""
        with torch.no_grad():
            wanted = [F.normalize(level, dim=1) for level in self.features(x_bchw)]
        found = [F.normalize(level, dim=1) for level in self.features(y_bchw)]
        distances = [(a - b).square().sum(1).mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(distances).mean()


def _make_critic() -> Critic:
    return Critic(
        CriticConfig(
            text_dim=1,
            backbone="scratch",
            size=CROP,
            penalty="pixels",
            penalty_weight=_PENALTY,
            augment=(),
        )
    )


def sharpen(encoder: Path, folder: Path, config: LoopConfig, minutes: float | None = None) -> None:
    """Train a decoder for the latents of a trained autoencoder and save both as ``folder/vae``.

    Args:
        encoder: Folder of the autoencoder; its decoder is where the new one starts.
        folder: Holds the run; resumed if there.
        config: The schedule.
        minutes: Stop after this time even if steps remain.
    """
    torch.manual_seed(config.seed)
    model = rescale_latents(make_autoencoder(), torch.ones(LATENT_CHANNELS))
    keep_encoder(model, encoder)
    sharp = SharpDecoder(model.to(memory_format=torch.channels_last))
    train_decoder(sharp, WorldFrames(World(), crop=CROP), folder, config, minutes)
    save_autoencoder(model, folder / "vae")


def train_decoder(
    sharp: SharpDecoder,
    batches_bchw: Dataset[Tensor],
    folder: Path,
    config: LoopConfig,
    minutes: float | None = None,
) -> None:
    """Train the decoder of an autoencoder in place.

    Args:
        sharp: The autoencoder, whose encoder is frozen, and perhaps a critic.
        batches_bchw: By step, crops of ``CROP`` pixels in [-1, 1].
        folder: Holds the run; resumed if there.
        config: The schedule.
        minutes: Stop after this time even if steps remain.
    """

    def batches(start: int) -> Iterator[tuple[int, Tensor]]:
        steps = range(start, config.steps + 1)
        loader = DataLoader(batches_bchw, batch_size=None, sampler=steps, num_workers=1)
        return iter(enumerate(loader, start))

    def factor_of(name: str) -> float:
        return _CRITIC_RATE if name.startswith("critic.") else 1.0

    def losses(batch: tuple[int, Tensor]) -> dict[str, Tensor]:
        return sharp.losses(batch[1], batch[0])

    train(sharp, losses, batches, config, folder, minutes, factor_of)
