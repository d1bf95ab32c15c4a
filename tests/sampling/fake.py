"""A backbone of one small convolution that fulfils the contract, and models made of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mcm.backbones.base import BackboneSpec, Condition
from mcm.diffusion import FlowSchedule, Prediction, Schedule, VarianceSchedule, convert
from mcm.sampling.options import Defaults
from mcm.sampling.pipeline import VideoModel

CHANNELS, FRAMES, SIDE, FACTOR, TOKENS = 4, 3, 4, 8, 6
SHAPE = (CHANNELS, FRAMES, SIDE, SIDE)
ZERO_SNR = VarianceSchedule.from_betas(rescale_zero_snr=True)
PLAIN = VarianceSchedule.from_betas("linear")


def make_spec(prediction: Prediction = "v", temporal_factor: int = 1) -> BackboneSpec:
    return BackboneSpec(
        family="fake",
        prediction=prediction,
        latent_channels=CHANNELS,
        spatial_factor=FACTOR,
        temporal_factor=temporal_factor,
        frames=FRAMES,
        height=SIDE * FACTOR,
        width=SIDE * FACTOR,
        fps=8,
        guidance_range=(1.0, 3.0),
        guidance=4.0,
        lora_targets=(),
        max_tokens=TOKENS,
    )


class FakeBackbone:
    """Network output tanh(conv(x) + time + text); counts its calls."""

    def __init__(self, schedule: Schedule = ZERO_SNR, prediction: Prediction = "v") -> None:
        self.spec, self.schedule = make_spec(prediction), schedule
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network: nn.Module = nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1)
        self.network.requires_grad_(False)
        self.batches: list[int] = []

    def raw(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        shift = t_b / 1000 + condition.pooled_bd[:, 0]
        return torch.tanh(self.network(x_bcthw) + shift[:, None, None, None, None])

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        self.batches.append(len(x_bcthw))
        assert len(x_bcthw) == len(t_b) == len(condition)
        output = self.raw(x_bcthw, t_b, condition)
        level = self.schedule.alpha_sigma(t_b)
        return convert(output, x_bcthw, *level, self.spec.prediction, want)

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        values = torch.tensor([sum(map(ord, prompt)) % 97 / 97 for prompt in prompts])
        return Condition(values[:, None, None].expand(-1, TOKENS, 2), values[:, None])

    def cut_prompt(self, prompt: str) -> str:
        return " ".join(prompt.split()[TOKENS:])

    def decode_frames(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        frames = latents_bcthw[:, :3].transpose(1, 2)
        return torch.tanh(frames).repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2)

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        yield


def make_model(kind: str = "student", schedule: Schedule = ZERO_SNR) -> VideoModel:
    flow = isinstance(schedule, FlowSchedule)
    backbone: Any = FakeBackbone(schedule, "velocity" if flow else "v")
    if kind == "student":
        defaults = Defaults("consistency", 4, 1.0, original_steps=20)
    else:
        defaults = Defaults("ddim", 10, backbone.spec.guidance)
    return VideoModel(f"fake-{kind}", backbone, defaults, torch.device("cpu"))
