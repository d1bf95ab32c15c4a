"""Scenes of the embedded world: which concept moves how, where, on what background."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mcm.data.fluent.concepts import CONCEPTS

Motion = Literal["left", "right", "up", "down", "bounce", "spin", "grow", "shrink", "still"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "blue": (88, 140, 226),
    "green": (104, 186, 110),
    "red": (214, 92, 88),
    "yellow": (238, 208, 102),
    "purple": (150, 106, 204),
    "pink": (240, 160, 196),
    "gray": (150, 154, 162),
    "white": (244, 244, 246),
}

FRAME_SIZE = 128
FRAMES = 16
FPS = 8

Split = Literal["train", "evaluation"]
_EVALUATION_SHARE = 0.08


@dataclass(frozen=True)
class Combination:
    """What a prompt names: concept index, motion and background."""

    concept: int
    motion: Motion
    background: str


@dataclass(frozen=True)
class Scene:
    """A combination with everything a prompt leaves open.

    Attributes:
        combination: What the caption says.
        size: Side of the object in pixels at rest.
        centre: Centre of the path in pixels, ``(x, y)``.
        reach: Extent of the motion: pixels for translations, degrees around the
            upright axis for ``spin``, relative size change for ``grow`` and ``shrink``.
        tilt: Constant rotation in degrees.
        shade: Relative brightness of the background's top and bottom.
    """

    combination: Combination
    size: float
    centre: tuple[float, float]
    reach: float
    tilt: float
    shade: tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """Where an object stands in one frame.

    Attributes:
        x: Centre in pixels from the left.
        y: Centre in pixels from the top.
        size: Side in pixels.
        angle: Rotation in the picture in degrees, clockwise.
        turn: Rotation around the object's upright axis in degrees: like a coin, it shows its
            edge at 90 and its mirrored back at 180.
    """

    x: float
    y: float
    size: float
    angle: float
    turn: float = 0.0


def split_of(combination: Combination) -> Split:
    """Return the split of a combination: a stable hash holds 8 % back for evaluation."""
    name = CONCEPTS[combination.concept].name
    text = f"{name}/{combination.motion}/{combination.background}"
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return "evaluation" if share < _EVALUATION_SHARE else "train"


def combinations(split: Split) -> list[Combination]:
    """Return every combination of a split, in a fixed order."""
    everything = (
        Combination(concept, motion, background)
        for concept in range(len(CONCEPTS))
        for motion in MOTIONS
        for background in BACKGROUNDS
    )
    return [combination for combination in everything if split_of(combination) == split]


def sample_scene(combination: Combination, rng: np.random.Generator) -> Scene:
    """Draw what the combination leaves open so that the object stays in the frame."""
    motion = combination.motion
    size = float(rng.uniform(70, 88))
    reach = _sample_reach(motion, rng)
    half_x = size / 2 + (reach / 2 if motion in ("left", "right") else 0)
    half_y = size / 2 + (reach / 2 if motion in ("up", "down", "bounce") else 0)
    if motion in ("grow", "shrink"):
        half_x = half_y = size * (1 + reach) / 2
    return Scene(
        combination=combination,
        size=size,
        centre=(_within(half_x, rng), _within(half_y, rng)),
        reach=reach,
        tilt=float(rng.uniform(-4, 4)),
        shade=(float(rng.uniform(1.0, 1.08)), float(rng.uniform(0.84, 0.96))),
    )


def _sample_reach(motion: Motion, rng: np.random.Generator) -> float:
    match motion:
        case "left" | "right" | "up" | "down":
            return float(rng.uniform(34, 46))
        case "bounce":
            return float(rng.uniform(26, 40))
        case "spin":
            return float(rng.uniform(340, 380))
        case "grow" | "shrink":
            return float(rng.uniform(0.32, 0.42))
        case "still":
            return 0.0


def _within(half: float, rng: np.random.Generator) -> float:
    """Draw a centre coordinate for an object of half extent ``half``, biased to the middle."""
    slack = max(FRAME_SIZE / 2 - half - 1, 0.0)
    return FRAME_SIZE / 2 + slack * float(rng.uniform(-1, 1)) * 0.8


def placement(scene: Scene, time: float) -> Placement:
    """Return where the object stands at ``time`` in [0, 1] of the clip."""
    x, y = scene.centre
    size, turn = scene.size, 0.0
    along = scene.reach * (time - 0.5)
    match scene.combination.motion:
        case "left":
            x -= along
        case "right":
            x += along
        case "up":
            y -= along
        case "down":
            y += along
        case "bounce":
            y += scene.reach * (0.5 - abs(math.sin(2 * math.pi * time)))
        case "spin":
            turn = scene.reach * time
        case "grow":
            size *= 1 + scene.reach * (2 * time - 1)
        case "shrink":
            size *= 1 - scene.reach * (2 * time - 1)
        case "still":
            pass
    return Placement(x, y, size, scene.tilt, turn)


def path(scene: Scene, frames: int = FRAMES) -> list[Placement]:
    """Return the placement of every frame of a clip."""
    return [placement(scene, frame / (frames - 1)) for frame in range(frames)]
