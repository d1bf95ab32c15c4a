"""Frames a second of a stream against the clip's own rate.

    python -m benchmarks.stream
    python -m benchmarks.stream --model fluent-mcm --steps 2 4 8 --seconds 20

Without a model it takes a tiny one with random weights, which tells of the machinery only. The
first window of each number of steps is not counted, but the time until its frames are there is.
Exits with 1 if no number of steps keeps up with the clip's rate.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel


@dataclass(frozen=True)
class Rate:
    """What was measured at one number of steps.

    Attributes:
        steps: Network steps of each window.
        first: Seconds until the first frames are there.
        fps: Frames made a second, from then on.
        slowest: Longest time between windows over the time that a window plays; below 1 a viewer
            with one window in hand sees no pause.
    """

    steps: int
    first: float
    fps: float
    slowest: float


def measure(
    model: VideoModel, prompt: str, steps: int, overlap: int | None, seconds: float
) -> Rate:
    """Let a stream run for some seconds."""
    begin = time.perf_counter()
    times, counts = [], []
    for clip in model.stream(prompt, steps=steps, overlap=overlap):
        times.append(time.perf_counter())
        counts.append(len(clip.frames))
        if len(times) > 1 and times[-1] - times[0] >= seconds:
            break
    played = [count / model.backbone.spec.fps for count in counts[1:]]
    waits = [after - before for before, after in pairwise(times)]
    return Rate(
        steps=steps,
        first=times[0] - begin,
        fps=sum(counts[1:]) / (times[-1] - times[0]),
        slowest=max(wait / long for wait, long in zip(waits, played, strict=True)),
    )


def tiny_model() -> str:
    """Return the folder of a tiny student with random weights."""
    from tests.serving.live import tiny_student

    return str(tiny_student())


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="embedded name or folder of a student")
    parser.add_argument("--prompt", default="a fox moving left on a blue background")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--overlap", type=int, help="frames that windows share")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each number of steps")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    model = load(options.model or tiny_model(), options.device, options.dtype)
    own = model.backbone.spec.fps
    print(f"{model.name}: its clips play at {own:g} frames/s")
    print(f"{'steps':>5} {'first frames':>13} {'frames/s':>9} {'of its rate':>12} {'slowest':>8}")
    rates = [
        measure(model, options.prompt, steps, options.overlap, options.seconds)
        for steps in options.steps
    ]
    for rate in rates:
        print(
            f"{rate.steps:>5} {rate.first:>11.2f} s {rate.fps:>9.1f} {rate.fps / own:>11.2f}x "
            f"{rate.slowest:>8.2f}"
        )
    return 0 if max(rate.fps for rate in rates) >= own else 1


if __name__ == "__main__":
    sys.exit(main())
