"""DINOv2 (with or without registers) as a frozen feature backbone.

Oquab et al. 2023 (arXiv 2304.07193), Darcet et al. 2023 (arXiv 2309.16588), through
transformers; the Motion Consistency Model taps blocks 2, 5, 8 and 11 of ViT-S/14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from mcm.appearance.levels import select_levels
from mcm.errors import UserError

HUB_NAME = "facebook/dinov2-with-registers-small"
MODEL_TYPES = ("dinov2", "dinov2_with_registers")
DEFAULT_BLOCKS = (2, 5, 8, 11)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Dinov2Features(nn.Module):
    """Patch tokens after chosen blocks, normalised per token and laid out on their grid."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: Any, blocks: tuple[int, ...], size: int) -> None:
        """Take a transformers model and cut it after the last of ``blocks``."""
        super().__init__()
        patch = int(model.config.patch_size)
        if size < patch:
            raise UserError(
                f"critic.size: {size} is smaller than one patch of the backbone ({patch} px); "
                f"give at least {patch}."
            )
        self.taps = blocks
        self.levels = (int(model.config.hidden_size),) * len(blocks)
        self.strides = (patch,) * len(blocks)
        self.size = size // patch * patch
        self.multiple = patch
        self.frozen = True
        model.encoder.layer = model.encoder.layer[: blocks[-1] + 1]
        self.model = model
        self.special_tokens = 1 + int(getattr(model.config, "num_register_tokens", 0))
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(shape), persistent=False)
        deviation = torch.tensor(IMAGENET_DEVIATION).view(shape)
        self.register_buffer("deviation", deviation, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a frozen network drops nothing."""
        return super().train(False)

    def _grid(self, tokens_bld: Tensor, rows: int) -> Tensor:
        patches_bld = layer_norm(tokens_bld[:, self.special_tokens :], tokens_bld.shape[-1:])
        batch, _, channels = patches_bld.shape
        return patches_bld.transpose(1, 2).reshape(batch, channels, rows, -1)

    def forward(self, images_bchw: Tensor) -> list[Tensor]:
        """Return one map (b, d, h/patch, w/patch) per level for RGB images in [-1, 1]."""
        pixels_bchw = ((images_bchw + 1) / 2 - self.mean) / self.deviation
        states = self.model(pixels_bchw, output_hidden_states=True).hidden_states
        rows = images_bchw.shape[-2] // self.multiple
        return [self._grid(states[block + 1], rows) for block in self.taps]


def load_dinov2(levels: Sequence[int] | None, size: int, weights: str | None) -> Dinov2Features:
    """Build the frozen backbone from a folder or hub name.

    Raises:
        UserError: If transformers is missing, the weights cannot be found, or they
            belong to another model.
    """
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError:
        raise UserError(
            "critic.backbone: 'dinov2' needs the package transformers, which is not "
            "installed; run: pip install transformers."
        ) from None
    source = weights or HUB_NAME
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in MODEL_TYPES:
            raise UserError(
                f"critic.weights: '{source}' is a {config.model_type} model; "
                f"expected one of {', '.join(MODEL_TYPES)}."
            )
        model = AutoModel.from_pretrained(source)
    except OSError as error:
        raise UserError(
            f"critic.weights: no DINOv2 model at '{source}'; expected a folder with "
            "config.json and model.safetensors, or a hub name that can be reached."
        ) from error
    blocks = select_levels(levels, DEFAULT_BLOCKS, int(config.num_hidden_layers), "dinov2")
    return Dinov2Features(model, blocks, size)
