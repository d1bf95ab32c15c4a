"""What a sampler asks of a model and of chance: guided predictions and seeded noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import Prediction, Schedule, guide


@dataclass(frozen=True)
class Noise:
    """Gaussian noise from one CPU generator per sample, the same on every device.

    A sample's noise depends on its own seed only, not on its batch.
    """

    generators: tuple[torch.Generator, ...]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int]) -> Noise:
        """Make one generator per seed."""
        return cls(tuple(torch.Generator().manual_seed(seed) for seed in seeds))

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Return float32 noise on the CPU, (b, *shape), the next of every generator."""
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self.generators])


class Denoise(Protocol):
    """What a sampler asks: a prediction for noisy latents, (b, c, t, h, w), at one timestep."""

    @property
    def schedule(self) -> Schedule:
        """Schedule of the network."""

    def __call__(self, x_bcthw: Tensor, t: Tensor, want: Prediction) -> Tensor:
        """Return ``want`` in float32; ``t`` has shape ()."""


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A backbone bound to a batch of prompts.

    Attributes:
        backbone: The model, at its active adapter.
        condition: Text states, one per sample.
        negative: Text states to steer away from, one for all or one per sample; ``None``
            turns guidance off.
        guidance: Scale w + 1 of classifier-free guidance; 1 is none. Of two experts, that of
            the one for the noisier timesteps.
    """

    backbone: Backbone
    condition: Condition
    negative: Condition | None = None
    guidance: float = 1.0

    @property
    def schedule(self) -> Schedule:
        """Schedule of the backbone."""
        return self.backbone.schedule

    @property
    def guided(self) -> bool:
        """Whether each prediction needs the negative prompt as well."""
        return self.negative is not None and self.guidance != 1.0

    def __call__(self, x_bcthw: Tensor, t: Tensor, want: Prediction) -> Tensor:
        """ŷ = ŷ_c + w·(ŷ_c − ŷ_u), both in one call of the network; float32.

        Args:
            x_bcthw: Noisy latents.
            t: One timestep for all samples, shape ().
            want: What to predict.
        """
        batch = len(x_bcthw)
        t_b = t.to(x_bcthw.device).expand(batch)
        if self.negative is None or not self.guided:
            return self.backbone.predict(x_bcthw, t_b, self.condition, want).float()
        negative = self.negative if len(self.negative) == batch else self.negative.expand(batch)
        both = Condition.cat([negative, self.condition])
        y = self.backbone.predict(torch.cat([x_bcthw] * 2), torch.cat([t_b] * 2), both, want)
        uncond, cond = y.float().chunk(2)
        w = torch.tensor(self.guidance - 1.0, device=cond.device)
        return guide(cond, uncond, self.backbone.spec.weight_at(w, t_b))
