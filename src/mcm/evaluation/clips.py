"""A clip under judgement: its frames and what its prompt asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.captions import prompt
from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import Combination


@dataclass(frozen=True, eq=False)
class EvaluationClip:
    """One clip of an evaluation.

    Attributes:
        key: Unique in the evaluation; the same key is the same prompt and seed for every model.
        frames_thwc: RGB frames, uint8.
        combination: Concept, motion and background that the prompt names.
    """

    key: str
    frames_thwc: NDArray[np.uint8]
    combination: Combination

    @property
    def prompt(self) -> str:
        """The plain wording of the combination."""
        return prompt(self.combination)

    @property
    def concept_name(self) -> str:
        """The noun of the concept that the prompt names."""
        return CONCEPTS[self.combination.concept].name
