"""A backbone made of the components of a stock diffusers pipeline: what all families share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mcm.backbones.base import BackboneSpec, Condition
from mcm.backbones.checkpointing import checkpoint_function
from mcm.backbones.components import stock_class
from mcm.backbones.features import as_clip, feature_width, middle, recorded
from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.latents import VideoCodec
from mcm.backbones.text import TextEncoder
from mcm.backbones.variants import FullVariants, LoraVariants, Mode, Variants
from mcm.diffusion import Prediction, Schedule, convert

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True)
class Parts:
    """The components of a backbone.

    Attributes:
        network: The denoising network, which has a ``dtype``.
        codec: The autoencoder.
        text: The text encoder.
        scheduler: Diffusers' scheduler configuration, with its ``_class_name``.
        schedule: The noise schedule that it describes.
    """

    network: nn.Module
    codec: VideoCodec
    text: TextEncoder
    scheduler: Mapping[str, Any]
    schedule: Schedule


class PipelineBackbone(ABC):
    """The contract of `mcm.backbones.base.Backbone`; a family adds how its network is called.

    Attributes:
        component: Name of the network in diffusers' pipeline and in adapter files.
        pipeline: Name of the pipeline's class in diffusers.
        spec: What the model is made for.
        schedule: Its noise schedule.
        codec: Its autoencoder.
        variants: Teacher, student and target.
        dtype: Number format of the network's weights.
        source: Folder that it was loaded from.
    """

    component: str
    pipeline: str
    source: Path

    def __init__(self, spec: BackboneSpec, parts: Parts, mode: Mode = "lora") -> None:
        """Put the components together; the network is frozen.

        Args:
            spec: What the model is made for.
            parts: Its components.
            mode: Whether a student is an adapter or a copy of the network.
        """
        network: Any = parts.network.eval()
        self.spec, self.codec, self._scheduler = spec, parts.codec, dict(parts.scheduler)
        self.schedule: Schedule = parts.schedule
        self.dtype: torch.dtype = network.dtype
        self.variants: Variants = (
            LoraVariants(network, spec.lora_targets) if mode == "lora" else FullVariants(network)
        )
        self._text: TextEncoder | None = parts.text
        self._fingerprint: dict[str, Any] | None = None

    @property
    def network(self) -> nn.Module:
        """The network to run; assign to it to wrap it, as for data-parallel training."""
        return self.variants.module

    @network.setter
    def network(self, module: nn.Module) -> None:
        self.variants.module = module

    @property
    def followed(self) -> str | None:
        """Name of what ties the network to the frames of one clip, or ``None``."""
        return None

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """Configuration of the stock scheduler whose noise schedule this is."""
        return dict(self._scheduler)

    @property
    def text(self) -> TextEncoder:
        """The text encoder."""
        assert self._text is not None, "the text encoder was freed"
        return self._text

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        """Return the wanted prediction of the active variant, float32, shape of ``x_bcthw``.

        Args:
            x_bcthw: Noisy scaled latents.
            t_b: Timesteps of the schedule, shape (b,).
            condition: Text states of b prompts.
            want: What to return.
        """
        with self._autocast(x_bcthw.device):
            states = condition.to(condition.tokens_bld.device, self.dtype)
            output = self._run(x_bcthw.to(self.dtype), t_b, states)
        level = self.schedule.alpha_sigma(t_b)
        return convert(output.float(), x_bcthw.float(), *level, self.spec.prediction, want)

    @property
    def feature_width(self) -> int:
        """Channels of :meth:`features`."""
        return feature_width(next(iter(self.networks().values())))

    def features(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        """Return what the active variant holds in its middle, (b, c, t, h, w), float32.

        Args:
            x_bcthw: Noisy scaled latents.
            t_b: Timesteps, shape (b,), all for the same expert where a model has several.
            condition: Text states of b prompts.
        """
        with recorded([middle(network) for network in self.networks().values()]) as seen:
            self.predict(x_bcthw, t_b, condition)
        (states,) = seen
        return as_clip(states, x_bcthw, self.spec.spatial_patch)

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        """Return the text states of prompts, float32; longer ones are cut at ``max_tokens``."""
        return self.text.encode(prompts)

    def cut_prompt(self, prompt: str) -> str:
        """Return the part of a prompt that ``encode_prompt`` cuts off, or an empty string."""
        return self.text.cut(prompt)

    def encode_video(self, video_bcthw: Tensor) -> Tensor:
        """Encode pixels in [-1, 1], on any device, to scaled latents (b, c, t, h, w), float32."""
        return self.codec.encode(video_bcthw)

    def decode_frames(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        """Decode the frames asked for, or all, to (b, l, 3, H, W), float32; differentiable."""
        return self.codec.decode(latents_bcthw, indices_bl)

    def add_adapter(self, name: str, rank: int, alpha: float, trainable: bool = True) -> None:
        """Add a LoRA adapter (in full mode a copy of the network), equal to the teacher.

        Its first values are drawn from torch's global generator.

        Raises:
            UserError: The name is taken.
        """
        self.variants.add(name, rank, alpha, trainable)

    def using(self, adapter: str | None) -> AbstractContextManager[None]:
        """Make an adapter active inside the context; ``None`` is the teacher.

        Raises:
            UserError: There is no such adapter.
        """
        return self.variants.using(adapter)

    def adapter_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return the parameters of an adapter by module name.

        Raises:
            UserError: There is no such adapter.
        """
        return self.variants.parameters(name)

    def networks(self) -> dict[str, nn.Module]:
        """Return the stock networks of the active variant by their names in the pipeline.

        With more than one, these names are also the first parts of module names.
        """
        variants = self.variants
        return {self.component: variants.base if variants.mode == "lora" else variants.module}

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the network's blocks in the backward pass instead of keeping their states."""
        with self.using(None):
            networks: list[Any] = list(self.networks().values())
        for network in networks:
            network.enable_gradient_checkpointing(checkpoint_function(self.variants))
        self.codec.enable_gradient_checkpointing()

    def fingerprint(self) -> dict[str, Any]:
        """Return digests of the encoders' weights, also after they were freed."""
        if self._fingerprint is None:
            self._fingerprint = {
                "text_encoder": fingerprint(self.text.encoder),
                "autoencoder": fingerprint(self.codec.autoencoder),
            }
        return dict(self._fingerprint)

    def free_encoders(self) -> None:
        """Drop the text encoder and the video encoder; the decoder stays."""
        self.fingerprint()
        self._text = None
        self.codec.free_encoder()

    def to_pipeline(self) -> DiffusionPipeline:
        """Return a stock pipeline that shares the weights and runs at the active variant."""
        if isinstance(self.variants, LoraVariants):
            self.variants.cast_inputs(True)
        scheduler = stock_class(self._scheduler["_class_name"])
        pipeline: DiffusionPipeline = stock_class(self.pipeline)(
            vae=self.codec.autoencoder,
            text_encoder=self.text.encoder,
            tokenizer=self.text.tokenizer,
            scheduler=scheduler.from_config(self._scheduler),
            **self.networks(),
            **self._extras(),
        )
        return pipeline

    @abstractmethod
    def _run(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        """Call the network in its own format and return what it predicts, (b, c, t, h, w)."""

    def _extras(self) -> dict[str, Any]:
        """Return further arguments of the pipeline's class."""
        return {}

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Compute in the format of the base weights, also with float32 adapters on them.

        Casts are not cached: a copy made without gradient must not serve a pass with one.
        """
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, self.dtype, cache_enabled=False)
