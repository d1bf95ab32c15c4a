"""What marking and signing add to the time of a clip, side by side with a clip without them.

    python benchmarks/answerable.py --model fluent-mcm --steps 4 --runs 9

Every run generates one clip and writes it twice, plain and answerable, in turn which goes first.
What is added is the difference of the two, as a share of generating and writing plainly; of all
runs the median. Processor seconds stand beside seconds of the clock, which mean nothing on a busy
machine. Ends with code 1 if more than `--most` percent of the clock's seconds are added.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from mcm.sampling.clip import Clip
from mcm.sampling.loading import load

PLAIN = "provenance: {sign: false}\nwatermark: {mark: false}\n"
Seconds = dict[str, float]


def timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """Return the result of some work, and its seconds on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, {
        "clock": time.perf_counter() - clock,
        "processor": time.process_time() - processor,
    }


def written(clip: Clip, path: Path, policy: Path) -> Seconds:
    """Return the seconds of writing a clip under a policy."""
    os.environ["MCM_POLICY"] = str(policy)
    return timed(lambda: clip.save(path, overwrite=True))[1]


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Generate and write clips; the first run warms up and does not count."""
    os.environ["MCM_HOME"] = str(folder / "home")
    policies = {"plain": folder / "plain.yaml", "answerable": folder / "answerable.yaml"}
    policies["plain"].write_text(PLAIN)
    policies["answerable"].write_text("{}\n")
    os.environ["MCM_POLICY"] = str(policies["answerable"])
    model = load(asked.model)
    options = {"steps": asked.steps, "sampler": asked.sampler}
    runs = []
    for number in range(asked.runs + 1):
        clip, generating = timed(
            lambda seed=number: model.generate(asked.prompt, seed=seed, **options)
        )
        order = sorted(policies, reverse=bool(number % 2))
        took = {
            name: written(clip, folder / f"{name}{asked.ending}", policies[name]) for name in order
        }
        runs.append({"generating": generating, **took})
    return summary(runs[1:], asked)


def summary(runs: list[dict[str, Seconds]], asked: argparse.Namespace) -> dict[str, Any]:
    """Return medians in milliseconds, and the share that is added in percent."""
    told: dict[str, Any] = {"model": asked.model, "steps": asked.steps, "runs": len(runs)}
    for kind in ("clock", "processor"):
        told[f"{kind}_ms"] = {
            name: round(1000 * median(run[name][kind] for run in runs), 1) for name in runs[0]
        }
        told[f"added_{kind}_percent"] = round(
            100
            * median(
                (run["answerable"][kind] - run["plain"][kind])
                / (run["generating"][kind] + run["plain"][kind])
                for run in runs
            ),
            2,
        )
    return told


def main() -> None:
    """Read the command line and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="fluent-mcm")
    parser.add_argument("--sampler", help="by default the model's own")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--prompt", default="a fox moving left on a blue background")
    parser.add_argument("--ending", default=".mp4", help="of the file that is written")
    parser.add_argument("--most", type=float, default=10.0, help="percent that may be added")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = measure(asked, Path(folder))
    print(json.dumps(told, indent=1))
    sys.exit(told["added_clock_percent"] > asked.most)


if __name__ == "__main__":
    main()
