"""The caption grammar: one combination, many wordings."""

from __future__ import annotations

import numpy as np

from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import Combination, Motion

_MOTION_PHRASES: dict[Motion, tuple[str, ...]] = {
    "left": ("moving left", "moving to the left", "gliding left"),
    "right": ("moving right", "moving to the right", "gliding right"),
    "up": ("moving up", "rising", "moving upwards"),
    "down": ("moving down", "sinking", "moving downwards"),
    "bounce": ("bouncing", "bouncing up and down", "hopping"),
    "spin": ("spinning", "spinning around", "rotating"),
    "grow": ("growing", "growing larger", "getting bigger"),
    "shrink": ("shrinking", "getting smaller", "becoming smaller"),
    "still": ("standing still", "not moving", "staying in place"),
}

_VIDEO_FORMS = (
    "{article} {noun} {motion} on a {colour} background",
    "{article} {noun} {motion}, {colour} background",
    "{article} {noun} {motion} over a {colour} background",
    "on a {colour} background, {article} {noun} {motion}",
    "a video of {article} {noun} {motion} on a {colour} background",
    "{noun} {motion}, {colour} backdrop",
)

_IMAGE_FORMS = (
    "{article} {noun} on a {colour} background",
    "{article} {noun}, {colour} background",
    "an image of {article} {noun} over a {colour} background",
    "{noun}, {colour} backdrop",
)


def video_caption(combination: Combination, rng: np.random.Generator) -> str:
    """Return one of the wordings of a combination."""
    phrases = _MOTION_PHRASES[combination.motion]
    motion = phrases[rng.integers(len(phrases))]
    noun = CONCEPTS[combination.concept].name
    form = _VIDEO_FORMS[rng.integers(len(_VIDEO_FORMS))]
    return _fill(form, noun, combination.background, motion)


def prompt(combination: Combination) -> str:
    """Return the plain wording of a combination, as evaluation uses it."""
    noun = CONCEPTS[combination.concept].name
    motion = _MOTION_PHRASES[combination.motion][0]
    return _fill(_VIDEO_FORMS[0], noun, combination.background, motion)


def image_caption(noun: str, background: str, rng: np.random.Generator) -> str:
    """Return one of the wordings for a still."""
    return _fill(_IMAGE_FORMS[rng.integers(len(_IMAGE_FORMS))], noun, background)


def _fill(form: str, noun: str, colour: str, motion: str = "") -> str:
    article = "an" if noun[0] in "aeiou" and not noun.startswith("uni") else "a"
    return form.format(article=article, noun=noun, colour=colour, motion=motion)
