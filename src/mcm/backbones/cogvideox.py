"""CogVideoX 2B and 5B: a diffusion transformer with v-prediction and zero terminal SNR.

Yang et al., *CogVideoX: Text-to-Video Diffusion Models with An Expert Transformer*, 2024
(arXiv 2408.06072).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.native import Native
from mcm.backbones.pipeline import Parts, PipelineBackbone
from mcm.backbones.text import T5Text
from mcm.backbones.variants import Mode
from mcm.backbones.video_latents import CausalAutoencoder
from mcm.errors import UserError

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
_PAIR = 2


class CogVideoX(PipelineBackbone):
    """The contract of `mcm.backbones.base.Backbone` over a `CogVideoXTransformer3DModel`."""

    component = "transformer"
    pipeline = "CogVideoXPipeline"

    def _run(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        output: Tensor = self.network(
            x_bcthw.transpose(1, 2),
            condition.tokens_bld,
            t_b,
            image_rotary_emb=self._rotary(x_bcthw),
            return_dict=False,
        )[0]
        return output.transpose(1, 2)

    def _rotary(self, x_bcthw: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return cosines and sines of the positions, for models that use them (5B)."""
        from diffusers.models.embeddings import get_3d_rotary_pos_embed
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        network: Any = self.variants.base
        config = network.config
        if not config.use_rotary_positional_embeddings:
            return None
        patch = config.patch_size
        frames, *size = x_bcthw.shape[2:]
        grid = size[0] // patch, size[1] // patch
        native = config.sample_width // patch, config.sample_height // patch
        rotary: tuple[Tensor, Tensor] = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            crops_coords=get_resize_crop_region_for_grid(grid, *native),
            grid_size=grid,
            temporal_size=frames,
            device=x_bcthw.device,
        )
        return rotary


class CogVideoXAutoencoder(CausalAutoencoder):
    """`AutoencoderKLCogVideoX`: two latent frames at a time, three at the start of an odd number.

    Its normalisation layers see a whole chunk, so the chunks are those of the stock decoder.
    """

    def __init__(self, autoencoder: Any) -> None:
        config = autoencoder.config
        factors = 2 ** (len(config.block_out_channels) - 1), int(config.temporal_compression_ratio)
        ones = torch.ones(config.latent_channels)
        super().__init__(autoencoder, factors, 0 * ones, ones / config.scaling_factor)

    def _chunks(self, latents: int) -> list[tuple[int, int]]:
        ends = list(range(_PAIR + latents % _PAIR, latents + 1, _PAIR)) or [latents]
        return list(zip([0, *ends], ends, strict=False))

    def _decode_chunk(self, raw_1cthw: Tensor, caches: Any) -> tuple[Tensor, Any]:
        vae = self.autoencoder
        if vae.post_quant_conv is not None:
            raw_1cthw = vae.post_quant_conv(raw_1cthw)
        pixels, caches = vae.decoder(raw_1cthw, conv_cache=caches)
        return pixels, caches


def load(folder: PipelineFolder, mode: Mode = "lora") -> CogVideoX:
    """Load a `CogVideoXPipeline`.

    Raises:
        UserError: A component is missing, broken or does not fit the others, or it is
            CogVideoX 1.5.
    """
    network = folder.model("transformer", "CogVideoXTransformer3DModel")
    config = network.config
    if config.patch_size_t is not None:
        raise UserError(
            f"{folder.path / 'transformer'}: patch_size_t is {config.patch_size_t}, which is "
            "CogVideoX 1.5; expected a model of version 1, such as CogVideoX-2b or -5b"
        )
    codec = CogVideoXAutoencoder(folder.model("vae", "AutoencoderKLCogVideoX"))
    encoder = folder.model("text_encoder", "T5EncoderModel")
    tokenizer = folder.tokenizer("T5TokenizerFast")
    text = T5Text(tokenizer, encoder, config.max_text_seq_length, "counted")
    folder.check_fit(
        [
            ("transformer: in_channels", config.in_channels, "vae", codec.latent_channels),
            ("transformer: text_embed_dim", config.text_embed_dim, "text_encoder", text.width),
        ]
    )
    scheduler = folder.scheduler()
    spec = folder.native(_usual(config, codec.spatial_factor)).spec(
        "cogvideox",
        folder.prediction(scheduler),
        codec,
        text,
        LORA_TARGETS,
        spatial_patch=config.patch_size,
        temporal_patch=_PAIR,
    )
    schedule = folder.variance_schedule(scheduler)
    return CogVideoX(spec, Parts(network, codec, text, scheduler, schedule), mode)


def _usual(config: Any, factor: int) -> Native:
    height, width = config.sample_height * factor, config.sample_width * factor
    frames = config.sample_frames
    return Native(frames, height, width, fps=8, guidance=6.0, guidance_range=(4.0, 6.0))
