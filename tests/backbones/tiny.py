"""A tiny AnimateDiff with random weights, made of all stock parts."""

import copy
import functools
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    UNetMotionModel,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mcm.backbones.animatediff import AnimateDiff
from mcm.backbones.loading import load_backbone
from mcm.backbones.variants import Mode

FRAMES = 4
SIZE = 32
WIDTH = 32
MAX_TOKENS = 12
CHANNELS = (8, 8, 16)
PROMPTS = ["a fox moving left on a blue background", "a star going up"]
NATIVE = {"frames": FRAMES, "fps": 8, "guidance": 3.0, "guidance_range": [1.0, 3.0]}


def make_tiny_animatediff(
    folder: Path,
    autoencoder: str = "dc",
    prediction: str = "v_prediction",
    native: dict[str, Any] | None = NATIVE,
) -> Path:
    """Write a pipeline folder: 4 latent channels, 8 × 8 latents of 32 × 32 pixels, 4 frames.

    Args:
        folder: Where to write.
        autoencoder: ``dc``, ``kl`` or ``tiny``.
        prediction: Diffusers' ``prediction_type``; ``v_prediction`` comes with zero terminal SNR.
        native: Content of the teacher's ``mcm.json``; ``None`` writes none.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = make_tokenizer()
        pipeline = AnimateDiffPipeline(
            vae=make_autoencoder(autoencoder),
            text_encoder=make_text_encoder(tokenizer),
            tokenizer=tokenizer,
            unet=_make_network(),
            motion_adapter=None,
            scheduler=_make_scheduler(prediction),
        )
    pipeline.save_pretrained(folder)
    if native is not None:
        (folder / "mcm.json").write_text(json.dumps(native))
    return folder


def load_tiny(folder: Path, mode: Mode = "lora") -> AnimateDiff:
    """Return a backbone of a folder, in float32 on the CPU; read once, copied at each call."""
    loaded = _load_once(folder, mode)
    tokenizer = loaded.text.tokenizer  # a copy of it would lose its way of decoding
    return copy.deepcopy(loaded, {id(tokenizer): tokenizer})


@functools.cache
def _load_once(folder: Path, mode: Mode) -> AnimateDiff:
    return load_backbone(folder, "cpu", "float32", mode)


def make_tokenizer() -> CLIPTokenizer:
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(PROMPTS, trainer)
    content = json.loads(learner.to_str())["model"]
    merges = [
        tuple(pair) if isinstance(pair, list) else tuple(pair.split(" "))
        for pair in content["merges"]
    ]
    tokens = dict.fromkeys([*letters, *(letter + "</w>" for letter in letters), *content["vocab"]])
    tokens |= dict.fromkeys(["<|startoftext|>", "<|endoftext|>"])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocabulary, merges, model_max_length=MAX_TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _make_network() -> UNetMotionModel:
    network = UNetMotionModel(
        sample_size=SIZE // 4,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        motion_max_seq_length=16,
    )
    for name, parameter in network.named_parameters():
        if "proj_out" in name or "conv_out" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def make_autoencoder(kind: str) -> AutoencoderDC | AutoencoderKL | AutoencoderTiny:
    if kind == "kl":
        blocks = len(CHANNELS)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=CHANNELS,
            norm_num_groups=4,
            latent_channels=4,
            scaling_factor=0.7,
        )
    if kind == "tiny":
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
        )
    model = AutoencoderDC(
        latent_channels=4,
        encoder_block_out_channels=CHANNELS,
        decoder_block_out_channels=CHANNELS,
        encoder_layers_per_block=(0, 1, 1),
        decoder_layers_per_block=(0, 1, 1),
        encoder_qkv_multiscales=((),) * 3,
        decoder_qkv_multiscales=((),) * 3,
        scaling_factor=0.5,
    )
    model.register_to_config(block_out_channels=list(CHANNELS))
    return model


def _make_scheduler(prediction: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        rescale_betas_zero_snr=prediction == "v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
