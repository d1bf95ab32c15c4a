"""Multi-level feature backbones of the critic, behind one protocol and one registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn

from mcm.appearance.dinov2 import load_dinov2
from mcm.appearance.efficientnet import load_efficientnet
from mcm.appearance.scratch import load_scratch
from mcm.errors import UserError, nearest


class FeatureBackbone(Protocol):
    """A network that turns images into feature maps at several depths.

    Every level is a map: the patch tokens of a vision transformer are laid out on
    their grid, so that one kind of head serves convolutional and token backbones.

    Attributes:
        levels: Channel count of each level.
        strides: Pixels per feature position of each level.
        size: Largest image side it is given; larger images are cropped or reduced.
        multiple: The image side must be a multiple of this.
        frozen: Whether the parameters are fixed; if not, they train with the heads.
    """

    levels: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    multiple: int
    frozen: bool

    def __call__(self, images_bchw: Tensor) -> list[Tensor]:
        """Return one map (b, c, h, w) per level for RGB images in [-1, 1]."""

    def forward(self, images_bchw: Tensor) -> list[Tensor]:
        """Return one map (b, c, h, w) per level for RGB images in [-1, 1]."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters."""


Loader = Callable[[Sequence[int] | None, int, str | None], FeatureBackbone]

BACKBONES: dict[str, Loader] = {
    "efficientnet": load_efficientnet,
    "dinov2": load_dinov2,
    "scratch": load_scratch,
}


def backbone_name(name: str) -> str:
    """Return ``name`` if it is a registered backbone.

    Raises:
        UserError: If it is not; the message lists the names and the nearest one.
    """
    if name not in BACKBONES:
        guess = nearest(name, BACKBONES)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise UserError(
            f"critic.backbone: '{name}' is unknown; expected one of {', '.join(BACKBONES)}.{hint}"
        )
    return name


def make_features(
    name: str,
    *,
    levels: Sequence[int] | None = None,
    size: int = 224,
    weights: str | None = None,
) -> FeatureBackbone:
    """Build a feature backbone.

    Args:
        name: ``efficientnet`` (EfficientNet-Lite0, ImageNet, frozen; levels 0..3),
            ``dinov2`` (DINOv2 with or without registers, frozen; levels are block
            numbers, default 2, 5, 8, 11) or ``scratch`` (a small convolutional tower
            that trains with the heads; levels 0..2).
        levels: Levels to tap; ``None`` takes the backbone's default. The network is
            cut after the last one.
        size: Largest image side in pixels; smaller images keep their size.
        weights: ``efficientnet``: a state-dict file instead of the installed package.
            ``dinov2``: a folder or hub name instead of the ViT-S/14 with registers.

    Raises:
        UserError: If the name, a level, the size, the package or the weights are wrong.
    """
    return BACKBONES[backbone_name(name)](levels, size, weights)
