"""The composer: sample number ``n`` of a domain is always the same sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from PIL import Image

from mcm.data.fluent import captions, render
from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.pack import Pack, default_pack
from mcm.data.fluent.scene import (
    BACKGROUNDS,
    FRAMES,
    MOTIONS,
    Combination,
    Scene,
    Split,
    combinations,
    path,
    placement,
    sample_scene,
    split_of,
)

Domain = Literal["video", "image", "flat"]
_DOMAIN_SEEDS: dict[Domain, int] = {"video": 1, "image": 2, "flat": 3}
_EXTRA_STILLS_SHARE = 0.15


@dataclass(frozen=True)
class Clip:
    """One sample of the video domain.

    Attributes:
        scene: The scene, the truth that metrics may ask for.
        caption: Its caption in one of the wordings.
        frames: Clean frames, RGB images.
    """

    scene: Scene
    caption: str
    frames: list[Image.Image]


@dataclass(frozen=True)
class Still:
    """One sample of the image or flat domain."""

    caption: str
    noun: str
    image: Image.Image


class World:
    """Deterministic source of every domain.

    Args:
        pack: The artwork.
        seed: Worlds of different seeds share artwork and grammar, not samples.
    """

    def __init__(self, pack: Pack | None = None, seed: int = 0) -> None:
        self.pack = pack or default_pack()
        self.seed = seed
        self._combinations = {split: combinations(split) for split in ("train", "evaluation")}
        concept_codes = {concept.hexcode for concept in CONCEPTS}
        self._extra_stills = [code for code in self.pack.index.stills if code not in concept_codes]

    def scene(self, number: int, split: Split = "train") -> Scene:
        """Return scene ``number`` of a split; scenes pass through all combinations in turn."""
        rng = self._rng("video", split, number)
        pool = self._combinations[split]
        turn = np.random.default_rng((self.seed, 9, number // len(pool))).permutation(len(pool))
        return sample_scene(pool[turn[number % len(pool)]], rng)

    def clip(self, number: int, split: Split = "train") -> Clip:
        """Return clip ``number`` of a split with clean frames."""
        scene = self.scene(number, split)
        rng = self._rng("video", split, number, 1)
        return Clip(scene, captions.video_caption(scene.combination, rng), self.draw_scene(scene))

    def draw_scene(self, scene: Scene, times: Iterable[int] = range(FRAMES)) -> list[Image.Image]:
        """Draw the clean frames of a scene, or those of ``times`` alone."""
        sprites = self.pack.animation(CONCEPTS[scene.combination.concept].hexcode)
        ground = render.backdrop(scene.combination.background, scene.shade)
        places = path(scene)
        return [render.draw(sprites[time % len(sprites)], places[time], ground) for time in times]

    def poor_video(self, number: int, split: Split = "train") -> tuple[bytes, str, dict[str, Any]]:
        """Return a clip as the teacher sees it: mp4 bytes, caption, metadata."""
        clip = self.clip(number, split)
        video = render.encode_poor([render.spoil(frame) for frame in clip.frames])
        return video, clip.caption, {"split": split, **scene_metadata(clip.scene)}

    def still(self, number: int, domain: Domain = "image", split: Split = "train") -> Still:
        """Return still ``number``: at every place, size and turn that a moving object takes."""
        rng = self._rng(domain, split, number)
        scene = sample_scene(self._any_combination(rng, split), rng)
        sprite, noun = self._still_sprite(scene.combination.concept, domain, rng)
        place = placement(scene, float(rng.uniform(0, 1)))
        ground = render.backdrop(scene.combination.background, scene.shade)
        caption = captions.image_caption(noun, scene.combination.background, rng)
        return Still(caption, noun, render.draw(sprite, place, ground))

    def _any_combination(self, rng: np.random.Generator, split: Split) -> Combination:
        while True:
            combination = Combination(
                int(rng.integers(len(CONCEPTS))),
                MOTIONS[rng.integers(len(MOTIONS))],
                list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))],
            )
            if split_of(combination) == split:
                return combination

    def _still_sprite(
        self, concept: int, domain: Domain, rng: np.random.Generator
    ) -> tuple[Image.Image, str]:
        hexcode = CONCEPTS[concept].hexcode
        if domain == "flat":
            return self.pack.flat(hexcode), CONCEPTS[concept].name
        if rng.uniform() < _EXTRA_STILLS_SHARE:
            hexcode = self._extra_stills[rng.integers(len(self._extra_stills))]
        return self.pack.still(hexcode), self.pack.index.stills[hexcode]

    def _rng(self, domain: Domain, split: Split, *numbers: int) -> np.random.Generator:
        key = (self.seed, _DOMAIN_SEEDS[domain], 0 if split == "train" else 1, *numbers)
        return np.random.default_rng(key)


def scene_metadata(scene: Scene) -> dict[str, Any]:
    """Return a scene as JSON-ready metadata with the concept's name."""
    data = asdict(scene)
    combination = data.pop("combination")
    combination["concept_name"] = CONCEPTS[combination["concept"]].name
    return {**combination, **data}


def scene_of(metadata: Mapping[str, Any]) -> Scene:
    """Return the scene that :func:`scene_metadata` wrote; other keys are ignored."""
    facts = {field.name: metadata[field.name] for field in fields(Scene)[1:]}
    named = Combination(metadata["concept"], metadata["motion"], metadata["background"])
    pairs = {name: tuple(facts[name]) for name in ("centre", "shade")}
    return Scene(named, **(facts | pairs))
