"""The appearance critic: augmentation, frozen features, heads and losses in one module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from mcm.appearance.augment import augment, check_policy, fit
from mcm.appearance.features import backbone_name, make_features
from mcm.appearance.fixed import parameters_fixed
from mcm.appearance.heads import Layout, LevelHead, reductions
from mcm.appearance.losses import (
    gradient_penalty,
    hinge_critic_loss,
    hinge_generator_loss,
    relativistic_critic_loss,
    relativistic_generator_loss,
)
from mcm.errors import UserError

Loss = Literal["hinge", "relativistic"]
Penalty = Literal["none", "features", "pixels"]
PenaltySide = Literal["real", "both"]
FEATURE_PREFIX = "features."


@dataclass(frozen=True)
class CriticConfig:
    """What the critic is made of.

    Raises:
        UserError: If a field has a value that is not offered.
    """

    text_dim: int
    """Dimension of the pooled text embedding."""
    backbone: str = "efficientnet"
    """Feature backbone: ``efficientnet``, ``dinov2`` or ``scratch``."""
    levels: tuple[int, ...] | None = None
    """Feature levels to judge; ``None`` is the backbone's default."""
    weights: str | None = None
    """File, folder or hub name of the backbone's weights; ``None`` is its default."""
    size: int = 224
    """Largest frame side in pixels; smaller frames keep their size."""
    width: int = 64
    """Channels inside every head."""
    layout: Layout = "map"
    """``map``: 2-D convolutions on the feature grid; ``tokens``: the paper's 1-D ones."""
    loss: Loss = "hinge"
    """``hinge``, or ``relativistic`` pairing as in R3GAN."""
    penalty: Penalty = "features"
    """What the gradient penalty differentiates by: backbone features or pixels."""
    penalty_weight: float = 1.0
    """γ in the penalty (γ/2)·E‖∇D‖²."""
    penalty_side: PenaltySide = "real"
    """``real`` is R1; ``both`` adds R2 on generated frames."""
    augment: tuple[str, ...] = ("color", "translation", "cutout")
    """Differentiable augmentation, in order."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        backbone_name(self.backbone)
        check_policy(self.augment)
        for field, kind in (
            ("layout", Layout),
            ("loss", Loss),
            ("penalty", Penalty),
            ("penalty_side", PenaltySide),
        ):
            _check_choice(field, getattr(self, field), get_args(kind))
        for field in ("text_dim", "size", "width"):
            if getattr(self, field) < 1:
                raise UserError(f"critic.{field}: {getattr(self, field)} is not positive.")
        if self.penalty_weight < 0:
            raise UserError(f"critic.penalty_weight: {self.penalty_weight} is negative.")


def _check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(
            f"critic.{field}: '{value}' is unknown; expected one of {', '.join(choices)}."
        )


class Critic(nn.Module):
    """Judge of single frames given their captions; each feature level has its own head.

    The score of a frame is the mean over levels of the mean logit, and every loss is
    the mean over levels of that level's loss, so that a level counts the same however
    fine its grid. Frozen features pass gradients to the frames and have none of
    their own.
    """

    def __init__(self, config: CriticConfig) -> None:
        """Build the critic; the heads start from torch's global random state."""
        super().__init__()
        self.config = config
        self.features = make_features(
            config.backbone, levels=config.levels, size=config.size, weights=config.weights
        )
        self.heads = nn.ModuleList(
            LevelHead(channels, config.text_dim, config.width, reductions(stride), config.layout)
            for channels, stride in zip(self.features.levels, self.features.strides, strict=True)
        )

    def prepare(self, frames_b3hw: Tensor, generator: torch.Generator) -> Tensor:
        """Augment frames in [-1, 1] and bring them to the backbone's size."""
        augmented = augment(frames_b3hw, self.config.augment, generator)
        return fit(augmented, self.features.size, self.features.multiple, generator)

    def score(self, features: Sequence[Tensor], text_bd: Tensor) -> list[Tensor]:
        """Return logits (b, n) per level for feature maps (b, c, h, w) per level."""
        return [head(f, text_bd) for head, f in zip(self.heads, features, strict=True)]

    def forward(self, frames_b3hw: Tensor, text_bd: Tensor, generator: torch.Generator) -> Tensor:
        """Return the logits of all levels side by side.

        Args:
            frames_b3hw: RGB frames in [-1, 1].
            text_bd: Pooled text embedding of each frame's caption.
            generator: Source of the augmentation's randomness.

        Returns:
            Logits (b, n); higher means more real.
        """
        features = self.features(self.prepare(frames_b3hw, generator))
        return torch.cat(self.score(features, text_bd), dim=1)

    def generator_loss(
        self,
        fake_b3hw: Tensor,
        fake_text_bd: Tensor,
        generator: torch.Generator,
        real_b3hw: Tensor | None = None,
        real_text_bd: Tensor | None = None,
    ) -> Tensor:
        """Return the student's loss; gradients go to ``fake_b3hw`` only.

        Args:
            fake_b3hw: The student's decoded frames in [-1, 1].
            fake_text_bd: Their pooled text embeddings.
            generator: Source of the augmentation's randomness.
            real_b3hw: Real frames to pair with; the relativistic loss needs them.
            real_text_bd: Their pooled text embeddings.

        Raises:
            UserError: If the loss is relativistic and no real frames are given.
        """
        with parameters_fixed(self):
            fake = self.score(self.features(self.prepare(fake_b3hw, generator)), fake_text_bd)
            if self.config.loss == "hinge":
                return _mean([hinge_generator_loss(level) for level in fake])
            if real_b3hw is None or real_text_bd is None:
                raise UserError(
                    "critic.loss: 'relativistic' compares with real frames and none were given; "
                    "pass real_b3hw and real_text_bd, or use 'hinge'."
                )
            with torch.no_grad():
                images = self.prepare(real_b3hw, generator)
                real = self.score(self.features(images), real_text_bd)
        pairs = zip(real, fake, strict=True)
        return _mean([relativistic_generator_loss(r, f) for r, f in pairs])

    def critic_loss(
        self,
        real_b3hw: Tensor,
        fake_b3hw: Tensor,
        real_text_bd: Tensor,
        fake_text_bd: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return the critic's loss and what to log beside it.

        Args:
            real_b3hw: Real frames in [-1, 1]; may have another size than the fake ones.
            fake_b3hw: Generated frames in [-1, 1]; detached here.
            real_text_bd: Pooled text embeddings of the real frames' own captions.
            fake_text_bd: Pooled text embeddings of the generated frames' prompts.
            generator: Source of the augmentation's randomness.

        Returns:
            ``loss`` (to differentiate: adversarial + (γ/2)·penalty) and, detached,
            ``adversarial``, ``penalty`` (E‖∇D‖², unweighted), ``real`` and ``fake``
            (mean scores).
        """
        real, real_penalty = self._judge(real_b3hw, real_text_bd, generator, True)
        both = self.config.penalty_side == "both"
        fake, fake_penalty = self._judge(fake_b3hw, fake_text_bd, generator, both)
        kind = relativistic_critic_loss if self.config.loss == "relativistic" else hinge_critic_loss
        adversarial = _mean([kind(r, f) for r, f in zip(real, fake, strict=True)])
        penalty = real_penalty + fake_penalty
        return {
            "loss": adversarial + 0.5 * self.config.penalty_weight * penalty,
            "adversarial": adversarial.detach(),
            "penalty": penalty.detach(),
            "real": _score(real).mean().detach(),
            "fake": _score(fake).mean().detach(),
        }

    def _judge(
        self, frames_b3hw: Tensor, text_bd: Tensor, generator: torch.Generator, penalise: bool
    ) -> tuple[list[Tensor], Tensor]:
        """Return logits per level and the gradient penalty, from frames cut off their graph."""
        kind = self.config.penalty if penalise else "none"
        images = self.prepare(frames_b3hw.detach(), generator)
        images.requires_grad_(kind == "pixels")
        with torch.set_grad_enabled(kind == "pixels" or not self.features.frozen):
            features = self.features(images)
        if kind == "features" and self.features.frozen:
            features = [level.requires_grad_() for level in features]
        logits = self.score(features, text_bd)
        if kind == "none":
            return logits, images.new_zeros(())
        inputs = [images] if kind == "pixels" else features
        return logits, gradient_penalty(_score(logits), inputs)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return the state without frozen features: what a checkpoint holds."""
        state = cast(dict[str, Tensor], self.state_dict())
        return {name: value for name, value in state.items() if self._is_trained(name)}

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``trainable_state_dict`` returned.

        Raises:
            UserError: If the names differ, as with another backbone, level or layout.
        """
        wanted = set(self.trainable_state_dict())
        if wanted != set(state):
            missing, extra = sorted(wanted - set(state))[:3], sorted(set(state) - wanted)[:3]
            raise UserError(
                f"critic state: names do not fit this critic (missing {missing}, unknown {extra}); "
                "load it with the critic settings that it was saved with."
            )
        self.load_state_dict(state, strict=False)

    def _is_trained(self, name: str) -> bool:
        return not (self.features.frozen and name.startswith(FEATURE_PREFIX))


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def _score(logits: Sequence[Tensor]) -> Tensor:
    """Return one score (b,) per frame: the mean over levels of the mean logit."""
    return torch.stack([level.mean(1) for level in logits]).mean(0)
