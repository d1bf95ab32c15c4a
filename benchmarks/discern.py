r"""How soon a recipe's critic tells a student's frames from the images.

    python benchmarks/discern.py recipes/fluent-mcm-hq.yaml outputs/baselines/two-stage/student
    python benchmarks/discern.py recipes/fluent-mcm-hq.yaml fluent-mcm-hq \
        critic.backbone=scratch critic.penalty=pixels

The student's clips, of training prompts, stay as they are, so that this is the critic's side alone.
Of clips and images a quarter is held out. Printed is the mean score of each side that is held out,
and which share of both lies on its own side of the middle (0.5 by chance).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from mcm.data.cached import CachedImages
from mcm.data.fluent.captions import prompt
from mcm.distillation.proxy import combinations
from mcm.distillation.variant import make_critic
from mcm.errors import UserError
from mcm.recipe import resolve
from mcm.sampling.loading import load
from mcm.settings import Recipe

HELD = 0.25
JUDGED = 128
"""Held-out frames of each side."""

Frames = tuple[Tensor, Tensor]
"""Frames (n, 3, h, w) in [-1, 1] and the pooled text embeddings of their captions."""
Draw = Callable[[int, bool], Frames]
"""Gives so many frames, held-out ones or others."""


def frames_of(student: str, count: int, generator: torch.Generator) -> Draw:
    """Make clips in 4 steps and draw frames of them."""
    model, prompts = load(student), [prompt(named) for named in combinations(count)]
    clips = [
        torch.from_numpy(model.generate(text, 4, seed=n).frames) for n, text in enumerate(prompts)
    ]
    clips_nthwc = torch.stack(clips)
    text_nd = model.backbone.encode_prompt(prompts).pooled_bd

    def draw(number: int, held: bool) -> Frames:
        chosen = _chosen(number, count, held, generator)
        times = torch.randint(clips_nthwc.shape[1], (number,), generator=generator)
        frames = clips_nthwc[chosen, times].permute(0, 3, 1, 2)
        return frames.float() / 127.5 - 1, text_nd[chosen]

    return draw


def stills_of(cache: str, generator: torch.Generator) -> Draw:
    """Draw the images of a cache."""
    images = CachedImages(cache)

    def draw(number: int, held: bool) -> Frames:
        chosen = _chosen(number, len(images), held, generator)
        batch = images.batch(chosen.tolist())
        return batch.pixels_b3hw.float(), batch.condition.pooled_bd.float()

    return draw


def _chosen(number: int, count: int, held: bool, generator: torch.Generator) -> Tensor:
    first = int(count * (1 - HELD))
    low, high = (first, count) if held else (0, first)
    return torch.randint(low, high, (number,), generator=generator)


def discern(recipe: Recipe, student: str, updates: int, batch: int, clips: int) -> Iterator[str]:
    """Train a recipe's critic and yield, on the way, what it sees.

    Args:
        recipe: Its critic and its images.
        student: Whose clips the images are told from.
        updates: Of the critic.
        batch: Frames of each side in an update.
        clips: Clips of the student.

    Raises:
        UserError: The recipe has no images or no critic, or the student is not there.
    """
    if recipe.data.images is None or recipe.critic.weight == 0:
        raise UserError("data.images, critic.weight: the recipe has no images or no critic")
    torch.manual_seed(recipe.trainer.seed)
    generator = torch.Generator().manual_seed(recipe.trainer.seed)
    real = stills_of(recipe.data.images, generator)
    fake = frames_of(student, clips, generator)
    critic = make_critic(recipe.critic, fake(1, True)[1].shape[-1])
    assert critic is not None
    trained, section = [p for p in critic.parameters() if p.requires_grad], recipe.critic
    optimizer = torch.optim.AdamW(trained, lr=section.lr, betas=section.betas, weight_decay=0.0)
    for update in range(1, updates + 1):
        (x, x_text), (y, y_text) = real(batch, False), fake(batch, False)
        optimizer.zero_grad()
        critic.critic_loss(x, y, x_text, y_text, generator)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if update % 25 == 0:
            with torch.no_grad():
                ours = critic(*real(JUDGED, True), generator).mean(1)
                theirs = critic(*fake(JUDGED, True), generator).mean(1)
            middle = (ours.median() + theirs.median()) / 2
            right = torch.cat([ours > middle, theirs < middle]).float().mean()
            means = f"images {float(ours.mean()):.3f}, frames {float(theirs.mean()):.3f}"
            yield f"{update} updates: {means}, told apart {float(right):.2f}"


def main() -> None:
    """Train the critic and print what it sees on the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("student")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=96)
    given = parser.parse_args()
    try:
        recipe = resolve(given.recipe, given.overrides)
        for line in discern(recipe, given.student, given.updates, given.batch, given.clips):
            print(line, flush=True)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
