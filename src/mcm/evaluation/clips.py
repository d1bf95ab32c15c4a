"""A clip under judgement: its frames and what its prompt asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import Combination
from mcm.errors import UserError


@dataclass(frozen=True, eq=False)
class EvaluationClip:
    """One clip of an evaluation.

    Attributes:
        key: Unique in the evaluation; the same key is the same prompt and seed for every model.
        frames_thwc: RGB frames, uint8.
        prompt: What the clip should show.
        combination: Concept, motion and background that a prompt of the embedded world names.
        seconds: Time from text to frames; NaN for clips that nothing generated.
    """

    key: str
    frames_thwc: NDArray[np.uint8]
    prompt: str
    combination: Combination | None = None
    seconds: float = float("nan")

    @property
    def named(self) -> Combination:
        """What the prompt names.

        Raises:
            UserError: The prompt is none of the embedded world's.
        """
        if self.combination is None:
            raise UserError(
                f"prompt {self.prompt!r}: names no concept, motion and background of the embedded "
                "world; leave out the metrics motion, concept and background"
            )
        return self.combination

    @property
    def concept_name(self) -> str:
        """The noun of the concept that the prompt names."""
        return CONCEPTS[self.named.concept].name
