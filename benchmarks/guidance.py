"""Which guidance scale suits a teacher or a training-free sampler best, on prompts of training.

    python benchmarks/guidance.py fluent-dit --steps 20 --scales 1.4 2 3.5 5
    python benchmarks/guidance.py fluent --sampler unipc --steps 4 -o docs/results/guidance-unipc.md

A few dozen clips for each scale are held against real ones as the proxy of a run does it. The
prompts are the proxy's, so that those of the evaluation stay unseen. Lower is better, but for the
motion.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcm.distillation.proxy import REAL, Yardstick
from mcm.errors import UserError
from mcm.evaluation.markdown import check_folder_of, table_lines
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel

SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0)

Found = Mapping[float, Mapping[str, float]]
"""The proxy's values by scale."""


def measure(
    model: VideoModel, yardstick: Yardstick, scale: float, steps: int, sampler: str | None
) -> dict[str, float]:
    """Return the proxy's values of a model at one scale; clip ``n`` has seed ``n``."""
    prompts = yardstick.prompts
    return yardstick.measure(
        lambda n: model.generate(prompts[n], steps, seed=n, guidance=scale, sampler=sampler).frames
    )


def markdown(found: Found) -> str:
    """Return a table, the lowest score in bold."""
    best = min(found, key=lambda scale: found[scale]["score"])
    rows = []
    for scale, one in sorted(found.items()):
        score = f"{one['score']:.3f}"
        cells = [f"{scale:g}", f"{one['fvd']:.0f}", f"{one['shift']:.0f}"]
        cells += [f"{one['fid']:.1f}", f"{one['motion']:.0%}"]
        rows.append([*cells, f"**{score}**" if scale == best else score])
    heads = ["guidance", "FVD", "shift", "FID", "motion", "score"]
    return "\n".join(table_lines(heads, rows))


def main(words: Sequence[str] | None = None) -> None:
    """Measure every scale and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="embedded name or folder")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", help="of the training-free ones; default: the model's own")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--clips", type=int, default=24, help="clips for each scale")
    parser.add_argument("--real", type=int, default=REAL, help="real clips to compare with")
    parser.add_argument("-o", "--output", type=Path, help="file for the table as well")
    words = sys.argv[1:] if words is None else words
    asked = parser.parse_args(words)
    if asked.clips < 2:
        parser.error(f"--clips: got {asked.clips}, expected 2 or more")
    found = {}
    try:
        if asked.output is not None:
            check_folder_of(asked.output)
        model, yardstick = load(asked.model), Yardstick.of(asked.clips, [], asked.real)
        for scale in asked.scales:
            found[scale] = measure(model, yardstick, scale, asked.steps, asked.sampler)
            values = ", ".join(f"{name} {value:.4g}" for name, value in found[scale].items())
            print(f"{scale:g}: {values}", flush=True)
    except UserError as error:
        parser.error(str(error))
    table = markdown(found)
    print(table)
    if asked.output is not None:
        made = f"python benchmarks/guidance.py {shlex.join(words)}"
        asked.output.write_text(f"{table}\n\n(`{made}`, {asked.clips} clips each)\n")


if __name__ == "__main__":
    main()
