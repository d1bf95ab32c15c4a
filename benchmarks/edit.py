"""How much of a clip's motion an edit keeps: where the object is, and optical flow.

    python -m benchmarks.edit
    python -m benchmarks.edit --model fluent-mcm --strengths 0.3 0.6 0.9 --clips 32

The inputs are evaluation clips of the embedded world, the prompts name another background. Beside
every strength stand how much of the pixels changed; as the ceiling, the input through the
autoencoder alone; as the floor, clips that the same prompts give without an input. Means with 95 %
intervals over the clips. The first column is the mean distance of the tracked object from where it
is in the same frame of the input, in pixels of 128 lines. Flow is that of the whole picture: a
background that flickers lowers its agreement, whatever the object does. Exits with 1 unless the
object of the weakest edit is nearer than that of the floor, beyond both intervals.
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
from mcm.evaluation.tracking import track
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel

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


@dataclass(frozen=True)
class Kept:
    """What edits keep of their inputs.

    Attributes:
        path: Distance of the object from the input's, in pixels of 128 lines.
        flow: Agreement of the optical flow with the input's, −1 to 1.
        change: How much of the pixels changed, in percent of white.
    """

    path: Result
    flow: Result
    change: Result


def measure(tasks: Sequence[Task], make: Callable[[int, Task], Frames]) -> Kept:
    """Compare what is made with the inputs."""
    made = [make(number, task) for number, task in enumerate(tasks)]
    pairs = list(zip(made, (task.frames for task in tasks), strict=True))
    flow = FlowAgreement().compute(observe(made), observe([task.frames for task in tasks]))
    return Kept(
        bootstrap_mean(np.array([path_distance(one, frames) for one, frames in pairs])),
        flow,
        bootstrap_mean(
            np.array([np.abs(one.astype(float) - frames).mean() / 2.55 for one, frames in pairs])
        ),
    )


def path_distance(made: Frames, frames: Frames) -> float:
    """Return the mean distance of the objects of two clips, frame by frame."""
    apart_t2 = track(made).centre_t2 - track(frames).centre_t2
    return float(np.linalg.norm(apart_t2, axis=1).mean())


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
    print(f"{'':<14} {'object off by (px)':<34} {'flow agreement':<34} pixels changed (%)")

    def show(name: str, make: Callable[[int, Task], Frames]) -> Result:
        kept = measure(tasks, make)
        print(f"{name:<14} {kept.path!s:<34} {kept.flow!s:<34} {kept.change}", flush=True)
        return kept.path

    def edited(strength: float) -> Callable[[int, Task], Frames]:
        return lambda number, task: (
            model.edit(
                task.frames, task.prompt, strength=strength, seed=number, steps=options.steps
            ).frames
        )

    show("autoencoder", lambda number, task: model.reconstruct(task.frames))
    strengths = sorted(options.strengths)
    kept = [show(f"strength {strength:g}", edited(strength)) for strength in strengths]
    floor = show(
        "no input",
        lambda number, task: model.generate(task.prompt, seed=number, steps=options.steps).frames,
    )
    return 0 if kept[0].high < floor.low else 1


if __name__ == "__main__":
    sys.exit(main())
