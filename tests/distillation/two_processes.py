"""Run by torchrun: each process trains the toy and writes a digest of its weights."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tests.distillation.toy import ToyBackbone, ToyVideos, texts

from mcm.distillation.feed import Feed
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.steps import STUDENT, TARGET
from mcm.distillation.trainer import Trainer
from mcm.distillation.variant import Variant
from mcm.settings import Recipe


def main(output: Path) -> None:
    torch.set_num_threads(1)
    recipe = Recipe.model_validate(
        {
            "model": {"teacher": "toy"},
            "data": {"videos": "toy"},
            "critic": {"weight": 0.1, "backbone": "scratch", "width": 8},
            "trainer": {"output": str(output / "out"), "steps": 3, "batch_size": 2},
        }
    )
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    torch.manual_seed(0)
    backbone = ToyBackbone()
    backbone.add_adapter(STUDENT, 1, 1.0, True)
    backbone.add_adapter(TARGET, 1, 1.0, False)
    objective = MotionConsistency(backbone, texts([1000]), Variant.of(recipe))
    videos: Any = ToyVideos()
    rank, world = accelerator.process_index, accelerator.num_processes
    feed = Feed.over(recipe, videos, None, world, rank)
    clips = feed[0].latents_bcthw.flatten(1).sum(1).tolist()
    Trainer(objective, feed, recipe, accelerator, {}).run()
    digest = hashlib.sha256()
    for value in objective.weights().values():
        digest.update(value.numpy().tobytes())
    text = f"{world}\n{digest.hexdigest()}\n{sorted(clips)}\n"
    (output / f"rank{rank}.txt").write_text(text)
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
