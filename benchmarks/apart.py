r"""How soon the critics of a recipe tell a student's clips from real ones, before they train it.

    python benchmarks/apart.py recipes/fluent-dit-mcm.yaml student.init=FOLDER
    python benchmarks/apart.py recipes/fluent-dit-mcm.yaml student.init=FOLDER \
        critic.weight=0 clip_critic.backbone=teacher

A critic that sees no difference has no gradient to give. The student is fixed; the critics learn on
some of its clips at `--steps` and on the real ones of the same captions, and others are held out.
Printed is by how much a critic puts real clips above made ones of the same captions: the mean over
held-out batches, in standard deviations of it between batches. Below 1 it can hardly tell.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mcm.distillation.batch import DistillBatch, Judged
from mcm.distillation.feed import Feed
from mcm.distillation.learner import Learner
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.run import make_accelerator, prepare_backbone
from mcm.distillation.variant import Variant
from mcm.recipe import resolve
from mcm.settings import Recipe

NAMES = ("", "clip_")
"""What the logs of the frame critic and of the clip critic begin with."""


@dataclass(frozen=True)
class Sides:
    """A batch of real clips, and a student's clean latents (b, c, t, h, w) of its captions."""

    batch: DistillBatch
    made_bcthw: Tensor


@torch.no_grad()
def make_sides(objective: MotionConsistency, batch: DistillBatch, seed: int, steps: int) -> Sides:
    """Sample the student for the captions of a batch."""
    real = batch.latents_bcthw
    seeds = range(seed, seed + len(real))
    return Sides(
        batch, objective.trajectories.generate(seeds, real.shape[1:], batch.condition, steps)
    )


@torch.no_grad()
def look(objective: MotionConsistency, sides: Sides, generator: torch.Generator) -> Judged:
    """Return what the critics are shown of both sides."""
    batch, draws = sides.batch, objective.trajectories.draw(sides.batch, generator)
    return objective.critics.view(batch, sides.made_bcthw, batch.condition, draws)


def gaps(
    objective: MotionConsistency, held: Sequence[Sides], generator: torch.Generator
) -> dict[str, float]:
    """Return by critic the mean gap of held-out batches over its standard deviation."""
    said = [objective.critic_step(look(objective, one, generator), generator) for one in held]
    found = {}
    for name in (name for name in NAMES if f"{name}real" in said[0]):
        gap = torch.stack([one[f"{name}real"] - one[f"{name}fake"] for one in said])
        found["clips" if name else "frames"] = float(gap.mean() / gap.std().clamp(min=1e-6))
    return found


def run(recipe: Recipe, steps: int, updates: int, every: int, batches: int) -> None:
    """Let the critics learn and print how far they are."""
    torch.manual_seed(recipe.trainer.seed)
    backbone, _ = prepare_backbone(recipe, make_accelerator(recipe).device)
    feed = Feed.open(recipe)
    objective = MotionConsistency(backbone, feed.videos.unconditional(), Variant.of(recipe))
    size = recipe.trainer.batch_size
    sides = [make_sides(objective, feed[n], n * size, steps) for n in range(batches)]
    held, seen = sides[: batches // 3], sides[batches // 3 :]
    learner = Learner.of(objective, recipe)
    learner.set_rates(0)
    generator, start = torch.Generator().manual_seed(recipe.trainer.seed), time.monotonic()
    for step in range(updates + 1):
        if step % every == 0:
            found = gaps(objective, held, generator)
            text = ", ".join(f"{name} {gap:.2f}" for name, gap in found.items())
            print(f"after {step} steps, {time.monotonic() - start:.0f} s: {text}", flush=True)
        losses = objective.critic_step(
            look(objective, seen[step % len(seen)], generator), generator
        )
        learner.optimizer.zero_grad()
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        learner.optimizer.step()  # moves the critics alone: nothing else has a gradient


def main(words: Sequence[str] | None = None) -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=4, help="of the student")
    parser.add_argument("--updates", type=int, default=120, help="of the critics")
    parser.add_argument("--every", type=int, default=40, help="updates between two looks")
    parser.add_argument("--batches", type=int, default=24, help="a third of them is held out")
    asked = parser.parse_args(words)
    recipe = resolve(asked.recipe, asked.overrides)
    run(recipe, asked.steps, asked.updates, asked.every, asked.batches)


if __name__ == "__main__":
    main()
