"""Critic of single decoded frames: frozen features, trainable heads, augmentation, losses."""

from mcm.appearance.augment import augment, fit
from mcm.appearance.critic import Critic, CriticConfig
from mcm.appearance.features import FeatureBackbone, make_features

__all__ = ["Critic", "CriticConfig", "FeatureBackbone", "augment", "fit", "make_features"]
