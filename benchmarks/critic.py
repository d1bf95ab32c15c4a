"""Whether a critic's gradient leads from poor frames to clean ones, before any student is trained.

    python benchmarks/critic.py recipes/ablations/base.yaml
    python benchmarks/critic.py recipes/ablations/base.yaml critic.backbone=efficientnet

The recipe's critic learns to tell its images from the videos' own frames, which a student that
has just begun makes much alike. Then scenes that no training saw are encoded twice, clean and poor.
Printed is the cosine, at the poor latents, between the way down the adversarial loss and the way to
the clean latents (0 by chance), and which share of both lies in the rows of the watermark.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mcm.appearance.critic import Critic
from mcm.backbones.pipeline import PipelineBackbone
from mcm.data.fluent import render
from mcm.data.fluent.world import World
from mcm.distillation.batch import Judged
from mcm.distillation.feed import Feed
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.run import make_accelerator, prepare_backbone
from mcm.distillation.variant import Variant
from mcm.errors import UserError
from mcm.recipe import resolve
from mcm.settings import Recipe

TIMES = (3, 11)
"""Frames of a clip that are compared."""
MARKED = slice(4, 7)
"""Rows of the latents, of 8, that the watermark lies in."""
DRAWS = 4
"""Draws of the augmentation that a gradient is averaged over."""


@dataclass(frozen=True)
class Pairs:
    """Scenes of the evaluation split, clean and poor: latents (b, c, t, h, w), pooled texts."""

    clean_bcthw: Tensor
    poor_bcthw: Tensor
    text_bd: Tensor


def make_pairs(backbone: PipelineBackbone, count: int) -> Pairs:
    """Compose, spoil and encode scenes."""
    world, latents = World(), ([], [])
    captions = []
    for number in range(count):
        clip = world.clip(number, "evaluation")
        clean = np.stack([np.asarray(frame) for frame in clip.frames])
        poor = render.decode(render.encode_poor([render.spoil(frame) for frame in clip.frames]))
        for kept, frames in zip(latents, (clean, poor), strict=True):
            video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 127.5 - 1
            kept.append(backbone.encode_video(video)[:, :, list(TIMES)])
        captions.append(clip.caption)
    text = backbone.encode_prompt(captions).pooled_bd
    return Pairs(torch.cat(latents[0]), torch.cat(latents[1]), text)


def train(objective: MotionConsistency, feed: Feed, recipe: Recipe, steps: int) -> None:
    """Let the critic tell the feed's images from its videos' own frames."""
    critic, section = objective.critics.frame, recipe.critic
    assert critic is not None
    trained = [p for p in critic.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=section.lr, betas=section.betas, weight_decay=0.0)
    generator = torch.Generator().manual_seed(recipe.trainer.seed)
    for batch in feed.stream(0, steps, 0):
        with torch.no_grad():
            clean = batch.latents_bcthw
            frames = objective.critics.frames(
                batch, clean, batch.condition, objective.trajectories.draw(batch, generator)
            )
        losses = objective.critic_step(Judged(frames), generator)
        optimizer.zero_grad()
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def way_down(backbone: PipelineBackbone, critic: Critic, pairs: Pairs) -> Tensor:
    """Return minus the gradient of the adversarial loss at the poor latents (b, c, t, h, w)."""
    generator = torch.Generator().manual_seed(0)
    latents = pairs.poor_bcthw.clone().requires_grad_()
    index = torch.arange(len(TIMES)).expand(len(latents), -1)
    text = pairs.text_bd.repeat_interleave(len(TIMES), dim=0)
    frames = backbone.decode_frames(latents, index).float().flatten(0, 1)
    rivals = (frames.detach(), text) if critic.config.loss == "relativistic" else (None, None)
    losses = [critic.generator_loss(frames, text, generator, *rivals) for _ in range(DRAWS)]
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), latents)
    return -gradient


def report(down: Tensor, away: Tensor) -> str:
    """Return cosine, norm of the gradient, and both shares in the rows of the watermark."""
    cosine = float((down * away).sum() / (down.norm() * away.norm()))
    shares = [float(x[..., MARKED, :].square().sum() / x.square().sum()) for x in (down, away)]
    return (
        f"cosine {cosine:.3f}, norm {float(down.norm()):.4f}, in the rows of the watermark "
        f"{shares[0]:.0%} of the gradient and {shares[1]:.0%} of the difference"
    )


def measure(recipe: Recipe, steps: int, pairs: int) -> str:
    """Train a recipe's critic for some steps and report its gradient at some pairs.

    Raises:
        UserError: The recipe has no critic, or something of it does not fit.
    """
    if recipe.critic.weight == 0:
        raise UserError("critic.weight: got 0, which is no critic; give one above")
    device = make_accelerator(recipe).device
    torch.manual_seed(recipe.trainer.seed)
    backbone, _ = prepare_backbone(recipe, device)
    feed = Feed.open(recipe)
    objective = MotionConsistency(backbone, feed.videos.unconditional(), Variant.of(recipe))
    made = make_pairs(backbone, pairs)
    train(objective, feed, recipe, steps)
    assert objective.critics.frame is not None
    down = way_down(backbone, objective.critics.frame, made)
    return report(down, made.clean_bcthw - made.poor_bcthw)


def main() -> None:
    """Train the critic and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--pairs", type=int, default=8)
    given = parser.parse_args()
    try:
        print(measure(resolve(given.recipe, given.overrides), given.steps, given.pairs))
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
