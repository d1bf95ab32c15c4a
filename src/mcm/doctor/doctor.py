"""The work of `mcm doctor`: peak memory and step time of a recipe, before it runs."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from mcm.backbones.folder import PipelineFolder
from mcm.devices import return_freed_memory
from mcm.distillation.learner import Learner
from mcm.doctor.ledger import Ledger
from mcm.doctor.sketch import Sketch, all_networks, sketch
from mcm.doctor.step import update
from mcm.doctor.timing import BUDGET, predict_seconds
from mcm.settings import Recipe

GIB = 2**30


@dataclass(frozen=True)
class Forecast:
    """What a run will need.

    Attributes:
        weights: Bytes of all weights, adapters and averages.
        peak: Most bytes of tensors at once, weights included.
        process: Bytes of the process itself, before any model: Python and its libraries.
        seconds: Of one optimiser step on the CPU; ``None`` if not asked for.
    """

    weights: int
    peak: int
    process: int
    seconds: float | None

    @property
    def memory(self) -> int:
        """Peak resident bytes of the whole process."""
        return self.peak + self.process

    def lines(self, available: int) -> list[str]:
        """Return the forecast as text.

        Args:
            available: Bytes that are free now.
        """
        seconds = "not tried" if self.seconds is None else f"{self.seconds:.3g} s"
        lines = [
            f"weights           {self.weights / GIB:.2f} GiB",
            f"peak memory       {self.memory / GIB:.2f} GiB",
            f"free memory       {available / GIB:.2f} GiB",
            f"step              {seconds}",
        ]
        if self.memory > available:
            lines.append(
                "does not fit: try trainer.gradient_checkpointing=true, a smaller "
                "trainer.batch_size, data.size or data.frames, model.dtype=bfloat16"
            )
        return lines


def forecast(
    recipe: Recipe, folder: PipelineFolder | None = None, budget: float | None = BUDGET
) -> Forecast:
    """Predict what a training on the CPU needs, by running two steps without values.

    The second step is the account: the optimiser has its moments by then.

    Args:
        recipe: What to train.
        folder: The teacher's; by default that of the recipe.
        budget: Seconds to spend on timing operations; ``None`` leaves the time out.

    Raises:
        UserError: The teacher's folder lacks something, or the recipe does not fit it.
    """
    drawn = sketch(recipe, folder)
    process = psutil.Process().memory_info().rss  # with all libraries, and no tensor yet
    ledger, weights = account(drawn, recipe)
    seconds = None
    if budget is not None:
        if recipe.trainer.gradient_checkpointing:
            return_freed_memory()  # as the run does, which takes time
        passes = max(1.0, recipe.trainer.gradient_accumulation / 2)
        seconds = predict_seconds(ledger.operations, budget) * passes
    return Forecast(weights, ledger.peak, process, seconds)


def account(drawn: Sketch, recipe: Recipe) -> tuple[Ledger, int]:
    """Return the account of a step without values, and the bytes of all weights."""
    objective, backbone, ledger = drawn.objective, drawn.backbone, Ledger()
    for module in (objective, *all_networks(backbone), backbone.codec.autoencoder):
        ledger.hold(module)
    weights = ledger.live
    learner = Learner.of(objective, recipe)
    generator = torch.Generator().manual_seed(recipe.trainer.seed)
    with ledger:
        for _ in range(2):
            ledger.restart()
            update(objective, learner, drawn.batch, recipe, generator)
    return ledger, weights
