"""Tiny models of every family, with random weights, in the layout of stock diffusers."""

import copy
import functools
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tests.backbones.tiny import PROMPTS, make_autoencoder, make_text_encoder, make_tokenizer
from tests.backbones.tiny import WIDTH as CLIP_WIDTH
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer, UMT5Config, UMT5EncoderModel

from mcm.backbones.loading import load_backbone
from mcm.backbones.pipeline import PipelineBackbone
from mcm.backbones.variants import Mode
from mcm.backbones.wan import per_frame

WIDTH = 16
NATIVE = {"height": 32, "width": 32, "fps": 8, "guidance": 3.0, "guidance_range": [1.0, 3.0]}
FRAMES = {
    "modelscope": 4,
    "wan": 5,
    "wan-2.2": 5,
    "fluent-dit": 4,
    "cogvideox": 9,
    "cogvideox-5b": 9,
    "ltx": 9,
}
FAMILIES = list(FRAMES)


def make_tiny(family: str, folder: Path) -> Path:
    """Write the folder of a pipeline for clips of 32 × 32 pixels."""
    makers = {
        "modelscope": _modelscope,
        "wan": _wan,
        "wan-2.2": functools.partial(_wan, experts=True),
        "fluent-dit": _fluent_dit,
        "cogvideox": _cogvideox,
        "cogvideox-5b": functools.partial(_cogvideox, rotary=True),
        "ltx": _ltx,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        makers[family]().save_pretrained(folder)
    (folder / "mcm.json").write_text(json.dumps({**NATIVE, "frames": FRAMES[family]}))
    return folder


def load_tiny(folder: Path, mode: Mode = "lora") -> PipelineBackbone:
    """Return a backbone of a folder, in float32 on the CPU; read once, copied at each call."""
    loaded = _load_once(folder, mode)
    tokenizer = loaded.text.tokenizer
    return copy.deepcopy(loaded, {id(tokenizer): tokenizer})


@functools.cache
def _load_once(folder: Path, mode: Mode) -> PipelineBackbone:
    return load_backbone(folder, "cpu", "float32", mode)


def _modelscope() -> DiffusionPipeline:
    tokenizer = make_tokenizer()
    network = UNet3DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=8,
    )
    return TextToVideoSDPipeline(
        vae=make_autoencoder("kl"),
        text_encoder=make_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=_stirred(network),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            timestep_spacing="trailing",
        ),
    )


def _wan(experts: bool = False) -> DiffusionPipeline:
    return WanPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(UMT5Config, UMT5EncoderModel),
        vae=AutoencoderKLWan(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 2],
            num_res_blocks=1,
            temperal_downsample=[True, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[0.5, 0.7, 0.9, 1.1],
            scale_factor_spatial=4,
        ),
        scheduler=UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        transformer=_wan_transformer(),
        transformer_2=_wan_transformer() if experts else None,
        boundary_ratio=0.875 if experts else None,
    )


def _fluent_dit() -> DiffusionPipeline:
    """Wan's transformer on an image autoencoder and a CLIP text encoder."""
    tokenizer = make_tokenizer()
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=make_text_encoder(tokenizer),
        vae=per_frame(make_autoencoder("dc")).autoencoder,
        scheduler=UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        transformer=_wan_transformer(CLIP_WIDTH),
    )


def _wan_transformer(text_dim: int = WIDTH) -> nn.Module:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=text_dim,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )


def _cogvideox(rotary: bool = False) -> DiffusionPipeline:
    blocks = 3
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        use_rotary_positional_embeddings=rotary,
    )
    return CogVideoXPipeline(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(T5Config, T5EncoderModel),
        vae=AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * blocks,
            up_block_types=("CogVideoXUpBlock3D",) * blocks,
            block_out_channels=(8,) * blocks,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            scaling_factor=0.7,
        ),
        transformer=transformer,
        scheduler=CogVideoXDDIMScheduler(
            snr_shift_scale=1.0 if rotary else 3.0,
            rescale_betas_zero_snr=True,
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            clip_sample=False,
        ),
    )


def _ltx() -> DiffusionPipeline:
    compressed = (True, True, False, False)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=compressed,
        decoder_spatio_temporal_scaling=compressed,
        patch_size=1,
        scaling_factor=0.9,
    )
    vae.latents_mean.copy_(torch.linspace(-0.3, 0.3, 8))
    vae.latents_std.copy_(torch.linspace(0.5, 1.5, 8))
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.95,
            max_shift=2.05,
            base_image_seq_len=1024,
            max_image_seq_len=4096,
            shift_terminal=0.1,
        ),
        vae=vae,
        text_encoder=_t5(T5Config, T5EncoderModel),
        tokenizer=_t5_tokenizer(),
        transformer=LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=12,
            cross_attention_dim=24,
            num_layers=2,
            caption_channels=WIDTH,
        ),
    )


def _t5_tokenizer() -> T5Tokenizer:
    words = dict.fromkeys(" ".join(PROMPTS).split())
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -2.0) for word in words]
    pieces += [(letter, -10.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def _t5(config: Any, model: Any) -> nn.Module:
    sizes = {"d_model": WIDTH, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return model(config(vocab_size=64, **sizes))


def _stirred(network: nn.Module) -> nn.Module:
    """Give the layers that start at zero values of their own."""
    for parameter in network.parameters():
        if not parameter.any() and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return network
