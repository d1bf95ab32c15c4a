"""A backbone of a few hundred parameters, and clips that it can learn from."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mcm.backbones.base import BackboneSpec, Condition
from mcm.backbones.variants import FullVariants
from mcm.data.cached import VideoBatch
from mcm.diffusion import Prediction, VarianceSchedule, convert
from mcm.distillation.objective import MotionConsistency

CHANNELS, FRAMES, SIDE, TEXT = 4, 4, 4, 8
SHAPE = (CHANNELS, FRAMES, SIDE, SIDE)


class ToyNetwork(nn.Module):
    """A convolution over space and time, shifted by timestep and text."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1)
        self.text = nn.Linear(TEXT, CHANNELS)
        self.time = nn.Linear(1, CHANNELS)

    def forward(self, x_bcthw: Tensor, t_b: Tensor, tokens_bld: Tensor) -> Tensor:
        shift_bc = self.text(tokens_bld.mean(1)) + self.time(t_b[:, None].float() / 1000)
        return self.convolution(x_bcthw) + shift_bc[:, :, None, None, None]


class ToyBackbone:
    """The contract with full copies as variants; v-prediction at zero terminal SNR."""

    def __init__(self, prediction: Prediction = "v") -> None:
        self.spec = BackboneSpec(
            "toy", prediction, CHANNELS, 4, 1, FRAMES, 16, 16, 8, (1.0, 3.0), 3.0, (), 6
        )
        self.schedule = VarianceSchedule.from_betas(rescale_zero_snr=prediction != "epsilon")
        self.variants = FullVariants(ToyNetwork())
        self.calls = 0

    @property
    def network(self) -> nn.Module:
        return self.variants.module

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        self.calls += 1
        output = self.network(x_bcthw, t_b, condition.tokens_bld)
        level = self.schedule.alpha_sigma(t_b)
        return convert(output, x_bcthw, *level, self.spec.prediction, want)

    @property
    def feature_width(self) -> int:
        return CHANNELS

    def features(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        self.calls += 1
        held: Tensor = self.network(x_bcthw, t_b, condition.tokens_bld).tanh()
        return held

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        return texts([hash(prompt) % 97 for prompt in prompts])

    def decode_frames(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        frames_btchw = latents_bcthw.transpose(1, 2)
        if indices_bl is not None:
            rows = torch.arange(len(frames_btchw))[:, None]
            frames_btchw = frames_btchw[rows, indices_bl]
        return frames_btchw[:, :, :3].repeat_interleave(4, 3).repeat_interleave(4, 4)

    def add_adapter(self, name: str, rank: int, alpha: float, trainable: bool = True) -> None:
        self.variants.add(name, rank, alpha, trainable)

    def using(self, adapter: str | None) -> AbstractContextManager[None]:
        return self.variants.using(adapter)

    def adapter_parameters(self, name: str) -> dict[str, nn.Parameter]:
        return self.variants.parameters(name)

    def fingerprint(self) -> dict[str, Any]:
        return {}


def texts(seeds: Sequence[int]) -> Condition:
    rows = [torch.randn(3, TEXT, generator=torch.Generator().manual_seed(s)) for s in seeds]
    tokens_bld = torch.stack(rows)
    return Condition(tokens_bld, tokens_bld.mean(1))


class ToyVideos:
    """A cache of clips in memory."""

    def __init__(self, count: int = 12) -> None:
        generator = torch.Generator().manual_seed(5)
        self.latents = torch.randn(count, *SHAPE, generator=generator)

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, indices: Sequence[int]) -> VideoBatch:
        names = [str(i) for i in indices]
        return VideoBatch(self.latents[list(indices)], texts(indices), None, None, names, names)

    def unconditional(self, count: int = 1) -> Condition:
        return texts([1000]).expand(count)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scatter(objective: MotionConsistency) -> None:
    """Give student, target and heads weights of their own."""
    generator = seeded(1)
    for value in objective.weights().values():
        if value.is_floating_point():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
