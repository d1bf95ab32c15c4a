"""LTX-Video: a diffusion transformer on strongly compressed latents, with flow matching.

HaCohen et al., *LTX-Video: Realtime Video Latent Diffusion*, 2024 (arXiv 2501.00103).
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.image_start import ImageStart
from mcm.backbones.native import Native
from mcm.backbones.pipeline import Parts
from mcm.backbones.text import T5Text
from mcm.backbones.variants import Mode
from mcm.backbones.video_latents import VideoAutoencoder

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
_MAX_TOKENS = 128
_USUAL = Native(161, 512, 704, 25, guidance=3.0, guidance_range=(1.0, 3.0))


class LTXVideo(ImageStart):
    """The contract of `mcm.backbones.base.Backbone` over an `LTXVideoTransformer3DModel`.

    Positions are in seconds and pixels: at the native rate, whatever the length and size.
    """

    component = "transformer"
    pipeline = "LTXPipeline"

    def _run(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        from diffusers import LTXPipeline

        base: Any = self.variants.base
        patches = base.config.patch_size, base.config.patch_size_t
        sizes = x_bcthw.shape[2:]
        packed: Tensor = self.network(
            LTXPipeline._pack_latents(x_bcthw, *patches),
            condition.tokens_bld,
            self.token_timesteps(x_bcthw, t_b, patches[0]),
            condition.mask_bl,
            *sizes,
            rope_interpolation_scale=self._scale(),
            return_dict=False,
        )[0]
        output: Tensor = LTXPipeline._unpack_latents(packed, *sizes, *patches)
        return output

    def _scale(self) -> tuple[float, int, int]:
        """Return seconds of a latent frame, and pixels of a latent position along each side."""
        spec = self.spec
        return spec.temporal_factor / spec.fps, spec.spatial_factor, spec.spatial_factor


class LTXAutoencoder(VideoAutoencoder):
    """`AutoencoderKLLTXVideo`, whose decoder sees past and future: it decodes the whole clip.

    With gradient its blocks are recomputed, which bounds memory. Later versions condition the
    decoder on a noise level, which is 0 here as in the pipeline.
    """

    def __init__(self, autoencoder: Any) -> None:
        factors = autoencoder.spatial_compression_ratio, autoencoder.temporal_compression_ratio
        std = autoencoder.latents_std / autoencoder.config.scaling_factor
        super().__init__(autoencoder, factors, autoencoder.latents_mean, std)
        autoencoder.enable_gradient_checkpointing()

    def _decode_all(self, raw_1cthw: Tensor) -> Tensor:
        conditioned = self.autoencoder.config.timestep_conditioning
        level = torch.zeros(1).to(raw_1cthw) if conditioned else None
        pixels: Tensor = self.autoencoder.decode(raw_1cthw, level).sample
        return pixels


def load(folder: PipelineFolder, mode: Mode = "lora") -> LTXVideo:
    """Load an `LTXPipeline`; where its shift depends on the size, it is that of the native size.

    Raises:
        UserError: A component is missing, broken or does not fit the others.
    """
    network = folder.model("transformer", "LTXVideoTransformer3DModel")
    config = network.config
    codec = LTXAutoencoder(folder.model("vae", "AutoencoderKLLTXVideo"))
    encoder = folder.model("text_encoder", "T5EncoderModel")
    text = T5Text(folder.tokenizer("T5TokenizerFast"), encoder, _MAX_TOKENS, "masked")
    folder.check_fit(
        [
            ("transformer: in_channels", config.in_channels, "vae", codec.latent_channels),
            ("transformer: caption_channels", config.caption_channels, "text_encoder", text.width),
        ]
    )
    scheduler = folder.scheduler()
    spec = folder.native(_USUAL).spec(
        "ltx", "velocity", codec, text, LORA_TARGETS, spatial_patch=config.patch_size
    )
    tokens = prod(spec.latent_shape()[1:])
    schedule = folder.flow_schedule(scheduler, tokens)
    return LTXVideo(spec, Parts(network, codec, text, scheduler, schedule), mode)
