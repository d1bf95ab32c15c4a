"""The loop of distillation, and only the loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mcm.distillation import checkpoints
from mcm.distillation.batch import DistillBatch
from mcm.distillation.callbacks import Callback, Report
from mcm.distillation.feed import Feed
from mcm.distillation.learner import Learner, NonFiniteGuard
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.randomness import seed_step
from mcm.distillation.steps import STUDENT
from mcm.distillation.student import interpolated, write_student
from mcm.distillation.target import copies
from mcm.interrupts import StopRequest, stop_requests
from mcm.settings import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: Finished steps of the whole run.
        interrupted: Whether Ctrl-C or SIGTERM ended it, sent to any of its processes.
        checkpoint: The last checkpoint.
    """

    step: int
    interrupted: bool
    checkpoint: Path


class Trainer:
    """Runs the objective step by step.

    With several processes each sees its own clips, and gradients are averaged once per
    optimiser step. A step is a function of the weights, the optimiser's state, the seed, the
    step's number, the rank and the world size, so that a resumed run repeats it exactly.
    """

    def __init__(
        self,
        objective: MotionConsistency,
        feed: Feed,
        recipe: Recipe,
        accelerator: Accelerator,
        backbone_identity: Mapping[str, Any],
    ) -> None:
        """Make the optimiser; the objective is on the accelerator's device already."""
        self.objective, self.feed, self.recipe = objective, feed, recipe
        self.accelerator, self.identity = accelerator, backbone_identity
        self.learner = Learner.of(objective, recipe)
        self.guard = NonFiniteGuard()
        self.generator = torch.Generator()
        self.step = 0
        self.start = copies(self._student) if recipe.student.interpolate < 1 else {}
        self.folder = Path(recipe.trainer.output) / checkpoints.FOLDER

    def written(self) -> AbstractContextManager[None]:
        """Make the student inside the one that is written: between its start and where it is."""
        return interpolated(self._student, self.start, self.recipe.student.interpolate)

    def write(self, folder: Path) -> None:
        """Write the student of this step."""
        with self.written():
            write_student(self.objective, self.recipe, folder, self.step)

    @property
    def _student(self) -> Mapping[str, Tensor]:
        return self.objective.backbone.adapter_parameters(STUDENT)

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Continue from a checkpoint of this recipe and backbone."""
        counters = checkpoint.card.counters
        self.objective.load_weights(checkpoint.weights)
        self.learner.load_state(checkpoint.optimizer)
        self.guard = NonFiniteGuard(**counters["guard"])
        if self.accelerator.scaler is not None and counters["scaler"]:
            self.accelerator.scaler.load_state_dict(dict(counters["scaler"]))
        self.step = checkpoint.card.step

    def save(self) -> Path:
        """Write a checkpoint from the first process and return its folder."""
        if self.accelerator.is_main_process:
            self._write_checkpoint()
        self.accelerator.wait_for_everyone()
        return self.folder / f"step-{self.step:08}"

    def _write_checkpoint(self) -> None:
        scaler, structure = self.accelerator.scaler, checkpoints.structure(self.recipe)
        state = scaler.state_dict() if scaler is not None else {}
        counters = {"guard": vars(self.guard), "scaler": state}
        card = checkpoints.Card(self.step, self.identity, structure, counters)
        weights, moments = self.objective.weights(), self.learner.state()
        checkpoints.save(self.folder, card, weights, moments, self.recipe.trainer.keep_last)

    def run(self, callbacks: Sequence[Callback] = ()) -> Outcome:
        """Train to the end, to the time limit or to an interruption, and save.

        Raises:
            UserError: Ten updates in a row were not finite.
            OSError: A checkpoint could not be written; the one before is intact.
        """
        try:
            with stop_requests() as request:
                return self._run(callbacks, request)
        finally:
            for callback in callbacks:
                callback.close()

    def _run(self, callbacks: Sequence[Callback], request: StopRequest) -> Outcome:
        section = self.recipe.trainer
        passes = section.gradient_accumulation
        stream = self.feed.stream(
            self.step * passes, section.steps * passes, self.recipe.data.workers
        )
        clock = _Clock(self.recipe)
        stop, interrupted = self.step >= section.steps, False
        saved = None
        while not stop:
            began = time.monotonic()
            scalars = self._update(stream)
            self.step += 1
            interrupted, late, due = self._agree(request.asked, *clock.ask())
            stop = interrupted or late or self.step >= section.steps
            scalars["seconds"] = time.monotonic() - began
            report = Report(self.step, section.steps, scalars, self.guard.total, stop, interrupted)
            self._tell(callbacks, report)
            saved = None
            if stop or due or self.step % (section.checkpoint_every or self.step + 1) == 0:
                saved = self.save()
                clock.saved()
        return Outcome(self.step, interrupted, saved or self.save())

    def _tell(self, callbacks: Sequence[Callback], report: Report) -> None:
        """Tell the watchers of a step; what was trained is saved even where one of them fails."""
        try:
            for callback in callbacks:
                callback.after_step(report)
        except Exception:
            self._write_checkpoint()  # without the others, who do not know of the failure
            raise

    def _update(self, stream: Iterator[DistillBatch]) -> dict[str, float]:
        """Make one optimiser step, or leave it out where something is not finite."""
        passes = self.recipe.trainer.gradient_accumulation
        seed_step(self.generator, self.recipe.trainer.seed, self.step, self._rank)
        rates = self.learner.set_rates(self.step)
        sums: dict[str, Tensor] = {}
        for _ in range(passes):
            for name, value in self._accumulate(next(stream), passes).items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value / passes
        losses = {name: float(value) for name, value in self._average(sums).items()}
        self.accelerator.unscale_gradients(self.learner.optimizer)
        norms = {name: float(norm) for name, norm in self.learner.clip().items()}
        if self.guard.admit(losses | norms, self.step):
            self.learner.optimizer.step()
            self.objective.update_target()
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        self.learner.optimizer.zero_grad(set_to_none=True)
        return losses | norms | rates

    def _accumulate(self, batch: DistillBatch, passes: int) -> dict[str, Tensor]:
        """Add the gradients of one batch: the student's, then the critics' on the same clips."""
        batch = batch.to(self.accelerator.device)
        with self.accelerator.autocast():
            losses = self.objective.step(batch, self.generator)
        self.accelerator.backward(losses.total / passes)
        values = {f"loss/{name}": value for name, value in losses.parts.items()}
        if losses.judged is None:
            return values
        critic = self.objective.critic_step(losses.judged, self.generator)
        self.accelerator.backward(critic["loss"] / passes)
        judged = {f"critic/{name}": value for name, value in critic.items() if name != "loss"}
        return values | judged | {"loss/critic": critic["loss"].detach()}

    def _average(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Average gradients (in place) and values over all processes, in one message."""
        if self.accelerator.num_processes == 1:
            return dict(values)
        gradients = self.learner.gradients()
        parts = [*gradients, *(value.reshape(1) for value in values.values())]
        flat = torch.cat([part.float().flatten() for part in parts])
        flat = self.accelerator.reduce(flat, reduction="mean")
        means = flat.split([part.numel() for part in parts])
        for gradient, mean in zip(gradients, means, strict=False):
            gradient.copy_(mean.view_as(gradient))
        return dict(zip(values, means[len(gradients) :], strict=True))

    def _agree(self, *wishes: bool) -> list[bool]:
        """Return which wishes any process has, the same list on all of them."""
        if self.accelerator.num_processes == 1:
            return list(wishes)
        flags = torch.tensor(wishes, dtype=torch.float32, device=self.accelerator.device)
        return [bool(flag) for flag in self.accelerator.reduce(flags, reduction="sum") > 0]

    @property
    def _rank(self) -> int:
        return int(self.accelerator.process_index)


class _Clock:
    """The limits of a recipe that are minutes."""

    def __init__(self, recipe: Recipe) -> None:
        self._limit = recipe.trainer.max_minutes
        self._between = recipe.trainer.checkpoint_minutes
        self._began = self._saved = time.monotonic()

    def ask(self) -> tuple[bool, bool]:
        """Return whether the run must end and whether a checkpoint is due."""
        now = time.monotonic()
        late = self._limit is not None and now - self._began > self._limit * 60
        due = self._between is not None and now - self._saved > self._between * 60
        return late, due

    def saved(self) -> None:
        """Note that a checkpoint was written."""
        self._saved = time.monotonic()
