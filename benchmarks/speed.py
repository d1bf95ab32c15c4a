"""How much faster a student makes a clip than its teacher, from text to finished file, warm.

    python benchmarks/speed.py fluent-mcm --steps 4 --runs 8

Student and teacher take turns in one process, so that both meet the same machine. Beside the whole
it shows where the student's time goes: text, network and decoding, then checking, marking, writing
and signing. `--cold` also times whole `mcm generate` processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel

PROMPT = "a fox moving left on a blue background"


def timed(model: VideoModel, steps: int, seed: int, folder: Path) -> dict[str, float]:
    """Return the seconds of each stage of one clip, and of all."""
    start = time.perf_counter()
    clip = model.generate(PROMPT, steps=steps, seed=seed)
    made = time.perf_counter()
    clip.save(folder / "clip.mp4", overwrite=True)
    end = time.perf_counter()
    stages = dict(clip.timings)
    stages["checks"] = made - start - sum(stages.values())
    return stages | {"mark, file and signature": end - made, "all": end - start}


def compare(names: Sequence[str], steps: Sequence[int], runs: int, folder: Path) -> None:
    """Time models in turns and print medians and the ratio of the last to the first."""
    models = [load(name) for name in names]
    found: list[list[dict[str, float]]] = [[] for _ in models]
    for run in range(runs + 1):
        for one, model, count in zip(found, models, steps, strict=True):
            one.append(timed(model, count, run, folder))
    for name, count, rows in zip(names, steps, found, strict=True):
        kept = rows[1:]
        stages = {key: median(row[key] for row in kept) for key in kept[0]}
        text = ", ".join(f"{key} {value:.3f}" for key, value in stages.items())
        least, most = (pick(row["all"] for row in kept) for pick in (min, max))
        print(f"{name}, {count} steps: {text} s (medians of {runs}; all {least:.2f}-{most:.2f})")
    student, teacher = (median(row["all"] for row in rows[1:]) for rows in found)
    print(f"speed-up by medians: {teacher / student:.1f}")


def cold(name: str, steps: int, runs: int, folder: Path) -> None:
    """Print the seconds of whole processes, from start to finished mp4."""
    program = str(Path(sys.executable).with_name("mcm"))
    seconds = []
    for run in range(runs):
        place = str(folder / f"cold-{run}.mp4")
        words = [program, "generate", PROMPT, "--model", name, "--steps", str(steps), "-o", place]
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    print("cold start to finished mp4:", " ".join(f"{value:.2f}" for value in seconds), "s")


def main() -> None:
    """Read the arguments and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="fluent-mcm")
    parser.add_argument("--teacher", default="fluent")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--teacher-steps", type=int, default=50)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--cold", type=int, default=0, metavar="RUNS")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, steps = Path(name), (given.steps, given.teacher_steps)
        compare((given.model, given.teacher), steps, given.runs, folder)
        if given.cold:
            cold(given.model, given.steps, given.cold, folder)


if __name__ == "__main__":
    main()
