"""AnimateDiff: an image UNet with motion modules, made of stock diffusers components.

Guo et al., *AnimateDiff*, 2023 (arXiv 2307.04725).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mcm.backbones.attention import use_folded_attention
from mcm.backbones.base import BackboneSpec, Condition
from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.latents import FrameCodec, pick_frames
from mcm.backbones.text import ClipText
from mcm.backbones.variants import FullVariants, LoraVariants, Mode, Variants, checkpoint_function
from mcm.diffusion import Prediction, Schedule, VarianceSchedule, convert

if TYPE_CHECKING:
    from diffusers import AnimateDiffPipeline

LORA_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "time_emb_proj",
)
"""Attention and feed-forward of image and motion layers, and the residual blocks.

Adapters on the motion modules' ``proj_in`` and ``proj_out`` make stock diffusers crash.
"""


class AnimateDiff:
    """The contract of `mcm.backbones.base.Backbone` over a `UNetMotionModel`.

    Attributes:
        spec: What the model is made for.
        schedule: Its noise schedule.
        codec: Its image autoencoder.
        variants: Teacher, student and target.
        component: Name of the network in diffusers' pipeline and in adapter files.
    """

    component = "unet"

    def __init__(
        self,
        spec: BackboneSpec,
        network: nn.Module,
        codec: FrameCodec,
        text: ClipText,
        scheduler: Mapping[str, Any],
        mode: Mode = "lora",
    ) -> None:
        """Put the components together; the network is frozen and gets our attention processor.

        Args:
            spec: What the model is made for.
            network: `UNetMotionModel`.
            codec: The autoencoder.
            text: The text encoder.
            scheduler: Diffusers' scheduler configuration, with its ``_class_name``.
            mode: Whether a student is an adapter or a copy of the network.
        """
        self.spec, self.codec, self._scheduler = spec, codec, dict(scheduler)
        self.schedule: Schedule = VarianceSchedule.from_scheduler_config(scheduler)
        self.dtype = next(network.parameters()).dtype
        use_folded_attention(network.eval())
        self.variants: Variants = (
            LoraVariants(network, spec.lora_targets) if mode == "lora" else FullVariants(network)
        )
        self._text: ClipText | None = text
        self._fingerprint: dict[str, Any] | None = None

    @property
    def network(self) -> nn.Module:
        """The network to run; assign to it to wrap it, as for data-parallel training."""
        return self.variants.module

    @network.setter
    def network(self, module: nn.Module) -> None:
        self.variants.module = module

    @property
    def text(self) -> ClipText:
        """The text encoder."""
        assert self._text is not None, "the text encoder was freed"
        return self._text

    def predict(
        self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: Prediction = "x0"
    ) -> Tensor:
        """Return the wanted prediction of the active variant, float32, shape of ``x_bcthw``.

        Args:
            x_bcthw: Noisy scaled latents.
            t_b: Whole timesteps, shape (b,).
            condition: Text states of b prompts.
            want: What to return.
        """
        with self._autocast(x_bcthw.device):
            tokens_bld = condition.tokens_bld.to(self.dtype)
            output = self.network(x_bcthw.to(self.dtype), t_b, tokens_bld).sample
        level = self.schedule.alpha_sigma(t_b)
        return convert(output.float(), x_bcthw.float(), *level, self.spec.prediction, want)

    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        """Return the text states of prompts, float32; longer ones are cut at ``max_tokens``."""
        return self.text.encode(prompts)

    def cut_prompt(self, prompt: str) -> str:
        """Return the part of a prompt that ``encode_prompt`` cuts off, or an empty string."""
        return self.text.cut(prompt)

    def encode_video(self, video_bcthw: Tensor) -> Tensor:
        """Encode pixels in [-1, 1], on any device, to scaled latents (b, c, t, h, w), float32."""
        frames = video_bcthw.transpose(1, 2)
        latents = self.codec.encode(frames.flatten(0, 1))
        return latents.reshape(*frames.shape[:2], *latents.shape[1:]).transpose(1, 2).contiguous()

    def decode_frames(self, latents_bcthw: Tensor, indices_bl: Tensor | None = None) -> Tensor:
        """Decode the frames asked for, or all, to (b, l, 3, H, W), float32; differentiable."""
        frames = latents_bcthw.transpose(1, 2)
        if indices_bl is not None:
            frames = pick_frames(frames, indices_bl)
        pixels = self.codec.decode(frames.flatten(0, 1))
        return pixels.reshape(*frames.shape[:2], *pixels.shape[1:])

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

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the residual blocks in the backward pass instead of keeping their states."""
        network: Any = self.variants.base
        network.enable_gradient_checkpointing(checkpoint_function(self.variants))

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

    def to_pipeline(self) -> AnimateDiffPipeline:
        """Return a stock pipeline that shares the weights and runs at the active variant."""
        import diffusers

        scheduler = getattr(diffusers, self._scheduler["_class_name"])
        return diffusers.AnimateDiffPipeline(
            vae=self.codec.autoencoder,
            text_encoder=self.text.encoder,
            tokenizer=self.text.tokenizer,
            unet=self.variants.base if self.variants.mode == "lora" else self.variants.module,
            motion_adapter=None,
            scheduler=scheduler.from_config(self._scheduler),
        )

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Compute in the format of the base weights, also with float32 adapters on them.

        Casts are not cached: a copy made without gradient must not serve a pass with one.
        """
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(device.type, self.dtype, cache_enabled=False)
