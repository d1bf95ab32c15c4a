"""AnimateDiff: an image UNet with motion modules.

Guo et al., *AnimateDiff*, 2023 (arXiv 2307.04725).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mcm.backbones.attention import use_folded_attention
from mcm.backbones.base import Condition
from mcm.backbones.checkpointing import checkpoint_function, checkpoint_module
from mcm.backbones.components import quiet_libraries
from mcm.backbones.control import Control
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.hub import beside_or_hub
from mcm.backbones.latents import FrameCodec
from mcm.backbones.native import Native
from mcm.backbones.pipeline import Parts, PipelineBackbone
from mcm.backbones.text import ClipText
from mcm.backbones.token_order import use_token_order
from mcm.backbones.variants import Mode
from mcm.errors import UserError

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
MOTION_MARK = "motion_modules."
"""What names of a motion module's weights hold."""
AUTOENCODERS = ("AutoencoderKL", "AutoencoderDC", "AutoencoderTiny")
_USUAL = Native(16, None, None, 8, guidance=7.5, guidance_range=(7.0, 8.0))
_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "clip_sample": False,
    "steps_offset": 1,
    "timestep_spacing": "linspace",
    "trained_betas": None,
}
"""What motion modules v1, v2 and v3 were trained with, other than Stable Diffusion 1.5 itself."""


class AnimateDiff(PipelineBackbone):
    """The contract of `mcm.backbones.base.Backbone` over a `UNetMotionModel`."""

    component = "unet"
    pipeline = "AnimateDiffPipeline"
    control: Control | None = None

    @property
    def followed(self) -> str | None:
        """`control` while a ControlNet guides."""
        return None if self.control is None else "control"

    @contextmanager
    def controlled(self, control: Control) -> Iterator[None]:
        """Let a ControlNet guide every clip inside.

        Raises:
            UserError: It was made for another image model.
        """
        control.join(self.variants.base)
        self.control = control
        try:
            yield
        finally:
            self.control = None

    def enable_gradient_checkpointing(self) -> None:
        """Recompute blocks in the backward pass, motion modules too, which diffusers leaves out."""
        super().enable_gradient_checkpointing()
        network: Any = self.variants.base
        for block in (*network.down_blocks, *network.up_blocks):
            for module in block.motion_modules:
                checkpoint_module(module, checkpoint_function(self.variants))

    def _run(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        tokens = condition.tokens_bld
        more = {} if self.control is None else self.control.residuals(x_bcthw, t_b, tokens)
        output: Tensor = self.network(x_bcthw, t_b, tokens, **more).sample
        return output

    def _extras(self) -> dict[str, Any]:
        return {"motion_adapter": None}


def load(
    folder: PipelineFolder, mode: Mode = "lora", motion_adapter: Path | None = None
) -> AnimateDiff:
    """Load an `AnimateDiffPipeline`, or a `StableDiffusionPipeline` and motion modules.

    A Stable Diffusion folder says how its image layers were trained; with motion modules the
    betas are linear and nothing is clipped, as AnimateDiff has it.

    Raises:
        UserError: A component is missing, broken or does not fit the others.
    """
    native = folder.native(_USUAL)
    if motion_adapter is None and native.motion_adapter is not None:
        motion_adapter = beside_or_hub(native.motion_adapter, folder.path)
    network: Any = _network(folder, motion_adapter)
    use_folded_attention(network.to(folder.device, memory_format=torch.channels_last))
    use_token_order(network)
    vae = folder.model("vae", *AUTOENCODERS)
    codec = FrameCodec(vae.to(memory_format=torch.channels_last))
    text = ClipText(
        folder.tokenizer("CLIPTokenizer"), folder.model("text_encoder", "CLIPTextModel")
    )
    check_fit(folder, network, codec, text)
    scheduler = folder.scheduler()
    if folder.index["_class_name"] == "StableDiffusionPipeline":
        scheduler |= _SCHEDULER
    native = native.sized((network.config.sample_size or 64) * codec.spatial_factor)
    prediction = folder.prediction(scheduler)
    most = network.config.motion_max_seq_length
    if native.frames > most:
        raise UserError(
            f"{folder.path}: frames in mcm.json: got {native.frames}, but its motion modules hold "
            f"{most} at once; longer clips are made in windows, with --frames"
        )
    spec = native.spec("animatediff", prediction, codec, text, LORA_TARGETS)
    schedule = folder.variance_schedule(scheduler)
    return AnimateDiff(spec, Parts(network, codec, text, scheduler, schedule), mode)


def check_fit(folder: PipelineFolder, network: Any, codec: FrameCodec, text: ClipText) -> None:
    """Raise unless latents and text states have the widths that a UNet takes.

    Raises:
        UserError: They have not.
    """
    config = network.config
    folder.check_fit(
        [
            ("unet: in_channels", config.in_channels, "vae", codec.latent_channels),
            ("unet: cross_attention_dim", config.cross_attention_dim, "text_encoder", text.width),
        ]
    )


def _network(folder: PipelineFolder, motion: Path | None) -> nn.Module:
    """Load the motion UNet, or make it of an image UNet and motion modules."""
    network: nn.Module = folder.model("unet", "UNetMotionModel", "UNet2DConditionModel")
    if type(network).__name__ == "UNetMotionModel":
        if motion is not None:
            raise UserError(
                f"motion_adapter: got {motion}, but the network in {folder.path / 'unet'} has "
                "motion modules already; take motion_adapter out of mcm.json"
            )
        return network
    path = motion or folder.path / "motion_adapter"
    if motion is None and not path.is_dir():
        raise UserError(
            f"{folder.path}: holds an image model and no motion modules; give the folder of a "
            "MotionAdapter as motion_adapter, in the call or in the folder's mcm.json"
        )
    adapter = folder.model_at(path, "MotionAdapter")
    from diffusers import UNetMotionModel

    try:
        with folder.building(), quiet_libraries():
            joined: nn.Module = UNetMotionModel.from_unet2d(network, adapter).to(folder.dtype)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"{path}: does not fit the image model in {folder.path}: {reason}"
        ) from error
    return joined
