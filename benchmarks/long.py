"""Long clips and loops: are the seams of the windows, and the loop point, as good as the rest?

    python -m benchmarks.long
    python -m benchmarks.long --model fluent-mcm --times 3 --clips 8

Between neighbouring frames it measures the warping error, which is what optical flow does not
explain, and the difference of the frames, both in percent of white. A seam lies where a window of
the last network step begins or ends. Beside them stand clips of the model's own length and, as
what a loop must beat, the jump from their last frame to their first. Means with 95 % intervals.
Exits with 1 if seams or the loop point are worse than the rest by more than a quarter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcm.diffusion import few_step_timesteps
from mcm.evaluation.flow import dense_flow, luminance, warping_error
from mcm.evaluation.metric import Result, bootstrap_mean
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.windows import windows

PROMPTS = (
    "a fox moving left on a blue background",
    "a rocket moving up on a green background",
    "a soccer ball bouncing on a yellow background",
    "a turtle moving right on a pink background",
)
MOST_MORE = 1.25


@dataclass(frozen=True)
class Row:
    """What was measured between neighbours of one kind."""

    name: str
    error: Result
    difference: Result


def intervals(frames_thwc: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return warping error and difference of each frame and the next, the last and the first.

    Both in percent of white, (t, 2).
    """
    first = luminance(frames_thwc)
    second = np.roll(first, -1, axis=0)
    flow = dense_flow(first, second)
    errors = [
        warping_error(first[k : k + 1], second[k : k + 1], flow[k : k + 1])
        for k in range(len(first))
    ]
    differences = np.abs(first - second).mean((1, 2)) / 255
    return 100 * np.stack([np.array(errors), differences], axis=1)


def seams(model: VideoModel, frames: int, steps: int) -> set[int]:
    """Return the numbers of the frames that are followed by a seam."""
    spec, defaults = model.backbone.spec, model.defaults
    last = few_step_timesteps(steps, defaults.original_steps, model.backbone.schedule)[-1]
    edges = [
        edge
        for window in windows(frames, spec.frames, int(last), loop=False)
        for edge in (int(window[0]) - 1, int(window[-1]))
    ]
    return {edge for edge in edges if 0 <= edge < frames - 1}


def row(name: str, seen: Iterable[NDArray[np.float64]]) -> Row:
    """Return the means of some intervals of every clip."""
    means = np.array([one.mean(0) for one in seen])
    return Row(name, bootstrap_mean(means[:, 0]), bootstrap_mean(means[:, 1]))


def measure(model: VideoModel, steps: int, times: int, clips: int) -> list[Row]:
    """Return clips of own length, long clips within windows and at seams, loops and their point."""

    def make(frames: int, loop: bool = False) -> list[NDArray[np.float64]]:
        return [
            intervals(
                model.generate(
                    PROMPTS[k % len(PROMPTS)], seed=k, steps=steps, frames=frames, loop=loop
                ).frames
            )
            for k in range(clips)
        ]

    own_length = model.backbone.spec.frames
    at = sorted(seams(model, times * own_length, steps))
    within = [k for k in range(times * own_length - 1) if k not in at]
    own, long, loops = make(own_length), make(times * own_length), make(own_length, loop=True)
    return [
        row("own length", (one[:-1] for one in own)),
        row("long, within windows", (one[within] for one in long)),
        row("long, at the seams", (one[at] for one in long)),
        row("own length, last to first", (one[-1:] for one in own)),
        row("loop, within", (one[:-1] for one in loops)),
        row("loop, at the loop point", (one[-1:] for one in loops)),
    ]


def is_good(rows: Sequence[Row]) -> bool:
    """Whether seams and loop point are about as good as the rest."""
    _, within, seam, _, inside, point = rows
    pairs = ((within, seam), (inside, point))
    return all(join.error.value <= MOST_MORE * rest.error.value for rest, join in pairs)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="fluent-mcm", help="embedded name or folder")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--times", type=int, default=3, help="own lengths of a long clip")
    parser.add_argument("--clips", type=int, default=16, help="of each kind")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    model = load(options.model, options.device, options.dtype)
    rows = measure(model, options.steps, options.times, options.clips)
    print(f"{model.name}, {options.steps} steps")
    print(f"{'':<26} {'warping error (%)':<34} difference (%)")
    for one in rows:
        print(f"{one.name:<26} {one.error!s:<34} {one.difference}")
    return 0 if is_good(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
