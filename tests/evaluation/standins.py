"""Tiny networks in the files and folders that the field's extractors come in."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.backbones.tiny import make_tokenizer
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    VideoMAEConfig,
    VideoMAEModel,
)


class I3d(nn.Module):
    """Mean colour of the clip's first and last frame, of pixels 0 to 255."""

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        assert rescale and resize and return_features
        return torch.cat([x[:, :, 0].mean((2, 3)), x[:, :, -1].mean((2, 3))], dim=1)


class Inception(nn.Module):
    """Mean colour of uint8 frames."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        assert x.dtype == torch.uint8 and return_features
        return x.float().mean((2, 3))


def save_scripts(folder: Path) -> tuple[Path, Path]:
    """Write both as TorchScript."""
    paths = folder / "i3d.pt", folder / "inception.pt"
    torch.jit.script(I3d()).save(str(paths[0]))
    torch.jit.script(Inception()).save(str(paths[1]))
    return paths


def save_videomae(folder: Path) -> Path:
    """Write a VideoMAE of four frames of 32 pixels."""
    config = VideoMAEConfig(
        image_size=32,
        patch_size=16,
        num_frames=4,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    VideoMAEModel(config).save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """Write a CLIP of 32 pixels with a tokenizer."""
    tokenizer = make_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        image_size=32,
        patch_size=16,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    both = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    CLIPModel(both).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
