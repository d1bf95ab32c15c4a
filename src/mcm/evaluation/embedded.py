"""The protocol of the embedded world: which prompts with which seeds, and the real clips of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent import render
from mcm.data.fluent.captions import prompt
from mcm.data.fluent.scene import Combination, combinations
from mcm.data.fluent.world import World
from mcm.evaluation.clips import EvaluationClip

Look = Literal["poor", "clean"]

PROTOCOL = "fluent-1"
"""Name of the protocol; results of different protocols do not compare."""

_LATER = 1000
"""Passes through all combinations before clips are drawn again."""


@dataclass(frozen=True)
class Request:
    """One clip that the protocol asks for.

    Attributes:
        key: Unique in the protocol.
        prompt: The plain wording of the combination.
        seed: Seed of the noise, the same for every model.
        combination: What a prompt of the embedded world names.
    """

    key: str
    prompt: str
    seed: int
    combination: Combination | None = None


def combination_count() -> int:
    """Return how many combinations are held back: one request each is the whole protocol."""
    return len(combinations("evaluation"))


def requests(count: int | None = None) -> list[Request]:
    """Return the first requests of the protocol.

    Request ``n`` has seed ``n`` and the combination of evaluation scene ``n``: a shuffled pass
    through all combinations, then another. So the first few are a fair sample of all.

    Args:
        count: Number of requests; by default one for every combination.
    """
    world = World()
    wanted = combination_count() if count is None else count
    chosen = [world.scene(number, "evaluation").combination for number in range(wanted)]
    return [
        Request(f"{number:05}", prompt(combination), number, combination)
        for number, combination in enumerate(chosen)
    ]


class Generated(Protocol):
    """What a model returns: frames, uint8 (t, h, w, 3), and the seconds they took."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """The frames."""

    @property
    def seconds(self) -> float:
        """Seconds from text to frames."""


class Generator(Protocol):
    """What can be evaluated: `mcm.load(...)` or :class:`RealClips`."""

    @property
    def name(self) -> str:
        """The name in tables."""

    def generate(self, prompt: str, steps: int | None = None, seed: int = 0) -> Any:
        """Return a clip as `Generated`."""


@dataclass(frozen=True, eq=False)
class RealClip:
    """A real clip in place of a generated one."""

    frames: NDArray[np.uint8]
    seconds: float = float("nan")


@dataclass(frozen=True)
class RealClips:
    """Real clips of the evaluation split in place of a model: what the judges say of the truth.

    Attributes:
        look: ``poor`` video as the teacher saw it, or ``clean`` frames.
        again: Draw other clips of the same prompts, which are in no reference: their distance is
            that of a perfect model.
    """

    look: Look = "poor"
    again: bool = False

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"real-{self.look}{'-again' * self.again}"

    def generate(self, prompt: str, steps: int | None = None, seed: int = 0) -> RealClip:
        """Return evaluation clip ``seed``, which is what request ``seed`` asks for."""
        world, number = World(), drawn_again(seed) if self.again else seed
        if self.look == "poor":
            return RealClip(render.decode(world.poor_video(number, "evaluation")[0]))
        return RealClip(
            np.stack([np.asarray(frame) for frame in world.clip(number, "evaluation").frames])
        )

    def clip(self, request: Request) -> EvaluationClip:
        """Return the real clip that a request asks for."""
        frames = self.generate(request.prompt, seed=request.seed).frames
        return EvaluationClip(request.key, frames, request.prompt, request.combination)


def drawn_again(number: int) -> int:
    """Return an evaluation clip of the same combination, far behind those of any reference."""
    turn = _LATER + number // combination_count()
    return _numbers_of(turn)[World().scene(number, "evaluation").combination]


@cache
def _numbers_of(turn: int) -> dict[Combination, int]:
    """Return the clip of each combination in one pass through all of them."""
    world, size = World(), combination_count()
    numbers = range(turn * size, (turn + 1) * size)
    return {world.scene(number, "evaluation").combination: number for number in numbers}


@dataclass(frozen=True)
class RealStills:
    """Stills of the evaluation split, each a clip of one frame: what students' frames should be.

    Attributes:
        domain: ``image`` or ``flat``.
    """

    domain: Literal["image", "flat"]

    def clip(self, request: Request) -> EvaluationClip:
        """Return evaluation still ``seed``; it does not show what the prompt names."""
        still = World().still(request.seed, self.domain, "evaluation")
        return EvaluationClip(request.key, np.asarray(still.image)[None], still.caption)
