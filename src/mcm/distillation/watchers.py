"""Who watches a run, as its recipe says: display, probe, validation clips, proxy, logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mcm.backbones.base import Backbone, Condition
from mcm.distillation.callbacks import Callback, Log
from mcm.distillation.display import Display
from mcm.distillation.logs import Recorder, open_logs
from mcm.distillation.probe import Probe, X0Error
from mcm.distillation.proxy import REAL, STEPS, Clip, Proxy, Yardstick, images_of
from mcm.distillation.steps import STUDENT
from mcm.distillation.trainer import Trainer
from mcm.distillation.validation import ClipMaker, Request, Validation, own_seeds, requests
from mcm.evaluation.networks import Judges
from mcm.settings import Recipe

BEST_FOLDER = "best"


@dataclass(frozen=True, eq=False)
class Watchers:
    """What watchers need of the text encoder, taken while it is there.

    Attributes:
        recipe: Says who watches.
        validation: Clips to make for the eye.
        yardstick: What the proxy measures with, if it is asked for.
        proxy: Clips to make for it.
    """

    recipe: Recipe
    validation: list[Request]
    yardstick: Yardstick | None
    proxy: list[Request]

    @classmethod
    def prepare(cls, recipe: Recipe, backbone: Backbone, device: torch.device) -> Watchers:
        """Encode every prompt that a watcher will ask for."""
        section = recipe.trainer

        def encode(prompts: list[str]) -> Condition:
            return backbone.encode_prompt(prompts).to(device)

        shown = list(section.validation.prompts) if section.validate_every is not None else []
        validation = requests(shown, section.validation.seeds, encode(shown)) if shown else []
        if section.proxy_every is None:
            return cls(recipe, validation, None, [])
        images = images_of(recipe.data.images, REAL) if recipe.data.images else ()
        judges = Judges(Path(section.proxy_judges) if section.proxy_judges else None)
        yardstick = Yardstick.of(section.proxy_clips, images, REAL, judges)
        prompts = yardstick.prompts
        return cls(recipe, validation, yardstick, own_seeds(prompts, encode(prompts)))

    def callbacks(self, trainer: Trainer) -> list[Callback]:
        """Return the watchers of a run, in the order in which they are told."""
        section, objective = self.recipe.trainer, trainer.objective
        device, output, done = trainer.accelerator.device, Path(section.output), trainer.step
        log = open_logs(section.tracker, output, done, self.recipe.model_dump(mode="json"))
        held = trainer.feed.held(section.probe_clips).to(device)
        callbacks: list[Callback] = [
            Display(section.steps, done, section.log_every, device, minutes=section.max_minutes)
        ]
        if section.probe_every is not None:
            error = X0Error.on(objective.backbone, held, self.recipe.consistency.grid_points)
            callbacks.append(Probe(error.of, STUDENT, log, section.probe_every, done > 0))
        _, channels, frames, height, width = held.latents_bcthw.shape
        shape = (channels, frames, height, width)
        backbone, empty = objective.backbone, objective.empty
        maker = ClipMaker(backbone, empty, shape, self.recipe, device, trainer.written)
        if self.validation and section.validate_every is not None:
            folder, every = output / "validation", section.validate_every
            callbacks.append(Validation(maker, self.validation, STUDENT, folder, log, every))
        callbacks += self._proxy(trainer, maker, log)
        return [*callbacks, Recorder(log, section.log_every)]

    def _proxy(self, trainer: Trainer, maker: ClipMaker, log: Log) -> list[Callback]:
        yardstick, every = self.yardstick, self.recipe.trainer.proxy_every
        if yardstick is None or every is None:
            return []
        folder = Path(self.recipe.trainer.output) / BEST_FOLDER
        steps = min(STEPS, self.recipe.consistency.grid_points)

        def make(number: int) -> Clip:
            return maker.student(self.proxy[number], steps, STUDENT)

        def measure() -> dict[str, float]:
            return yardstick.measure(make)

        done = trainer.step
        return [Proxy(measure, trainer.write, folder, log, every, yardstick.digest, done)]
