"""Wan 2.1 and 2.2 text-to-video: a diffusion transformer, or two, with flow matching.

Wan Team, *Wan: Open and Advanced Large-Scale Video Generative Models*, 2025 (arXiv 2503.20314).
Wan 2.2 A14B has two experts, one for the noisier timesteps and one for the others; TI2V-5B is one
transformer on a stronger autoencoder. A small model may stand on an image autoencoder, frame by
frame, and a CLIP text encoder instead, as the embedded one does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mcm.backbones.attention import use_shaped_attention
from mcm.backbones.base import Condition
from mcm.backbones.folder import PipelineFolder
from mcm.backbones.image_start import ImageStart
from mcm.backbones.latents import FrameCodec, VideoCodec
from mcm.backbones.native import Native
from mcm.backbones.pipeline import Parts
from mcm.backbones.text import ClipText, T5Text, TextEncoder
from mcm.backbones.variants import Mode
from mcm.backbones.video_latents import CausalAutoencoder
from mcm.diffusion import FlowSchedule

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
_MAX_TOKENS = 512
_ONE = Native(81, 480, 832, 16, guidance=5.0, guidance_range=(3.0, 5.0))
_EXPERTS = Native(
    81, 720, 1280, 16, guidance=4.0, guidance_range=(2.0, 3.0), low_noise_guidance=3.0
)
_TI2V_5B = Native(121, 704, 1280, 24, guidance=5.0, guidance_range=(3.0, 5.0))


class Wan(ImageStart):
    """The contract of `mcm.backbones.base.Backbone` over one or two `WanTransformer3DModel`.

    TI2V-5B's timestep per token is the same for all tokens in text-to-video, so it is given once;
    from a picture it is 0 in the first frame.
    """

    component = "transformer"
    pipeline = "WanPipeline"
    expands_timesteps = False

    @property
    def starts_from_images(self) -> bool:
        """Whether this very model was trained for it."""
        return self.expands_timesteps

    def networks(self) -> dict[str, nn.Module]:
        """Return the stock networks of the active variant by their names in the pipeline."""
        found = super().networks()
        experts = found[self.component]
        return experts.by_name() if isinstance(experts, Experts) else found

    def _run(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        t = self.token_timesteps(x_bcthw, t_b, self.spec.spatial_patch)
        output: Tensor = self.network(x_bcthw, t, condition.tokens_bld, return_dict=False)[0]
        return output

    def _extras(self) -> dict[str, Any]:
        base = self.variants.base
        ratio = base.ratio if isinstance(base, Experts) else None
        return {"boundary_ratio": ratio, "expand_timesteps": self.expands_timesteps}


class Experts(nn.Module):
    """Two transformers as one network: each sample goes to the expert of its timestep.

    Attributes:
        transformer: For timesteps from the boundary up.
        transformer_2: For timesteps below it.
        ratio: The boundary as a part of the time axis.
        boundary: The boundary as a timestep.
        dtype: Number format of the weights.
    """

    def __init__(self, high: Any, low: Any, ratio: float, num_timesteps: int) -> None:
        super().__init__()
        self.transformer, self.transformer_2 = high, low
        self.ratio, self.boundary = ratio, ratio * num_timesteps
        self.dtype: torch.dtype = high.dtype

    def by_name(self) -> dict[str, nn.Module]:
        """Return the experts by their names in the pipeline."""
        return {"transformer": self.transformer, "transformer_2": self.transformer_2}

    def forward(
        self, x_bcthw: Tensor, t_b: Tensor, tokens_bld: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """Return what the experts predict, samples in their places."""
        high_b = t_b >= self.boundary
        places = [rows.nonzero().flatten() for rows in (high_b, ~high_b)]
        outputs = [
            expert(x_bcthw[rows], t_b[rows], tokens_bld[rows], return_dict=return_dict)[0]
            for expert, rows in zip(self.by_name().values(), places, strict=True)
            if len(rows)
        ]
        return (torch.cat(outputs)[torch.cat(places).argsort()],)


def per_frame(autoencoder: Any) -> FrameCodec:
    """Return an image autoencoder as Wan's, with the two numbers that `WanPipeline` asks of it."""
    codec = FrameCodec(autoencoder.to(memory_format=torch.channels_last))
    autoencoder.register_to_config(
        scale_factor_spatial=codec.spatial_factor, scale_factor_temporal=codec.temporal_factor
    )
    return codec


class WanAutoencoder(CausalAutoencoder):
    """`AutoencoderKLWan`: one latent frame at a time."""

    def __init__(self, autoencoder: Any) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        config = autoencoder.config
        factors = config.scale_factor_spatial, config.scale_factor_temporal
        mean, std = torch.tensor(config.latents_mean), torch.tensor(config.latents_std)
        super().__init__(autoencoder, factors, mean, std)
        layers = autoencoder.decoder.modules()
        self._layers = sum(isinstance(layer, WanCausalConv3d) for layer in layers)

    def _chunks(self, latents: int) -> list[tuple[int, int]]:
        return [(number, number + 1) for number in range(latents)]

    def _decode_chunk(self, raw_1cthw: Tensor, caches: Any) -> tuple[Tensor, Any]:
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        vae, first = self.autoencoder, caches is None
        caches = [None] * self._layers if first else caches
        hidden = vae.post_quant_conv(raw_1cthw)
        pixels = vae.decoder(hidden, feat_cache=caches, feat_idx=[0], first_chunk=first)
        if vae.config.patch_size is not None:
            pixels = unpatchify(pixels, patch_size=vae.config.patch_size)
        return pixels.clamp(-1, 1), caches


def load(folder: PipelineFolder, mode: Mode = "lora") -> Wan:
    """Load a `WanPipeline`, with one expert or two.

    Raises:
        UserError: A component is missing, broken or does not fit the others.
    """
    scheduler = folder.scheduler()
    schedule = folder.flow_schedule(scheduler)
    network, usual = _network(folder, schedule)
    if folder.device.type in ("cpu", "meta"):
        use_shaped_attention(network)
    codec, text = _codec(folder), _text(folder)
    config: Any = (network.transformer if isinstance(network, Experts) else network).config
    folder.check_fit(
        [
            ("transformer: in_channels", config.in_channels, "vae", codec.latent_channels),
            ("transformer: text_dim", config.text_dim, "text_encoder", text.width),
        ]
    )
    spec = folder.native(usual).spec(
        "wan",
        "velocity",
        codec,
        text,
        LORA_TARGETS,
        spatial_patch=config.patch_size[1],
        boundary=network.boundary if isinstance(network, Experts) else None,
    )
    backbone = Wan(spec, Parts(network, codec, text, scheduler, schedule), mode)
    backbone.expands_timesteps = bool(folder.index.get("expand_timesteps"))
    return backbone


def _text(folder: PipelineFolder) -> TextEncoder:
    """Return the text encoder, whose states are zero after the prompt, as `WanPipeline` has them.

    Raises:
        UserError: It is missing, broken or of another class.
    """
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    kinds = ("UMT5EncoderModel", "CLIPTextModel")
    encoder = folder.model("text_encoder", *kinds)
    if folder.kind("text_encoder", *kinds) == "CLIPTextModel":
        return ClipText(folder.tokenizer("CLIPTokenizer"), encoder, "zeroed", prompt_clean)
    tokenizer = folder.tokenizer("T5TokenizerFast")
    return T5Text(tokenizer, encoder, _MAX_TOKENS, "zeroed", prompt_clean)


def _codec(folder: PipelineFolder) -> VideoCodec:
    """Return Wan's own autoencoder, or an image autoencoder frame by frame."""
    kinds = ("AutoencoderKLWan", "AutoencoderDC")
    vae = folder.model("vae", *kinds)
    if folder.kind("vae", *kinds) == "AutoencoderKLWan":
        return WanAutoencoder(vae)
    return per_frame(vae)


def _network(folder: PipelineFolder, schedule: FlowSchedule) -> tuple[nn.Module, Native]:
    """Return one transformer or the two experts, and what they are made for."""
    kind = "WanTransformer3DModel"
    high = folder.model("transformer", kind)
    ratio = folder.index.get("boundary_ratio")
    if ratio is None:
        return high, _TI2V_5B if folder.index.get("expand_timesteps") else _ONE
    low = folder.model("transformer_2", kind)
    return Experts(high, low, float(ratio), schedule.num_timesteps), _EXPERTS
