"""How much of a clip's motion an edit keeps: optical flow of the output against the input's.

    python -m benchmarks.edit
    python -m benchmarks.edit --model fluent-mcm --strengths 0.3 0.6 0.9 --clips 32

The inputs are evaluation clips of the embedded world, the prompts name another background. Beside
every strength stand how much of the pixels changed and, as the floor, clips that the same prompts
give without an input. Means with 95 % intervals over the clips. Exits with 1 if an edit keeps no
more motion than the floor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.captions import prompt
from mcm.data.fluent.scene import BACKGROUNDS
from mcm.data.fluent.world import World
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import FlowAgreement
from mcm.evaluation.flow import FlowObserver
from mcm.evaluation.metric import Observations, Result, bootstrap_mean
from mcm.sampling.pipeline import VideoModel, load

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Task:
    """A clip and what it is to become."""

    frames: Frames
    prompt: str


def make_tasks(count: int, model: VideoModel) -> list[Task]:
    """Return evaluation clips of the world, each with a prompt of the next background."""
    world, tasks, backgrounds = World(), list[Task](), list(BACKGROUNDS)
    for number in range(count):
        clip = world.clip(number, "evaluation")
        asked = clip.scene.combination
        after = backgrounds[(backgrounds.index(asked.background) + 1) % len(backgrounds)]
        frames = np.stack([np.asarray(frame) for frame in clip.frames])
        tasks.append(Task(frames, prompt(replace(asked, background=after))))
    return tasks


def observe(frames: Sequence[Frames]) -> Observations:
    """Return the flow of clips by their number."""
    observer = FlowObserver()
    return {
        str(number): observer.observe(EvaluationClip(str(number), one, ""))
        for number, one in enumerate(frames)
    }


def measure(tasks: Sequence[Task], make: Callable[[int, Task], Frames]) -> tuple[Result, Result]:
    """Return the agreement of the flow of what is made with the input's, and the change in %."""
    made = [make(number, task) for number, task in enumerate(tasks)]
    agreement = FlowAgreement().compute(observe(made), observe([task.frames for task in tasks]))
    changes = [
        np.abs(one.astype(np.float64) - task.frames).mean() / 2.55
        for one, task in zip(made, tasks, strict=True)
    ]
    return agreement, bootstrap_mean(np.array(changes))


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="fluent-mcm", help="embedded name or folder")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.3, 0.6, 0.9])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    model = load(options.model, options.device, options.dtype)
    tasks = make_tasks(options.clips, model)
    print(f"{model.name}, {options.steps} steps")
    print(f"{'':<14} {'flow agreement':<38} pixels changed (%)")

    def show(name: str, make: Callable[[int, Task], Frames]) -> Result:
        agreement, change = measure(tasks, make)
        print(f"{name:<14} {agreement!s:<38} {change}", flush=True)
        return agreement

    def edited(strength: float) -> Callable[[int, Task], Frames]:
        return lambda number, task: (
            model.edit(
                task.frames, task.prompt, strength=strength, seed=number, steps=options.steps
            ).frames
        )

    kept = [show(f"strength {strength:g}", edited(strength)) for strength in options.strengths]
    floor = show(
        "no input",
        lambda number, task: model.generate(task.prompt, seed=number, steps=options.steps).frames,
    )
    return 0 if min(one.value for one in kept) > floor.value else 1


if __name__ == "__main__":
    sys.exit(main())
