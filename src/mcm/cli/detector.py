"""`mcm detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_REAL = ["clean", "poor"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train and judge the detector of generated clips.",
)

Generated = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Generated clips: MODEL[:option=value,...][@steps,...], decoded:MODEL (real clips "
        "through its autoencoder), or files:FOLDER.",
    ),
]
Real = Annotated[
    list[str], typer.Option(help="Real clips: clean, poor, or files:FOLDER; repeat it for more.")
]
Folder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the run; resumed if there.")
]
Count = Annotated[int, typer.Option(help="Clips of each source.", min=1)]


@app.command()
def train(
    generated: Generated,
    output: Folder,
    real: Real = _REAL,
    count: Count = 400,
    domain: Annotated[
        float, typer.Option(help="Share of the known clips in its domain.", min=0.5, max=1.0)
    ] = 0.99,
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 0,
) -> None:
    """Train, calibrate, and find the domain."""
    from mcm.forensics.work import train_detector

    typer.echo(train_detector(real, generated, output, count, domain, seed))


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="File that `mcm detector train` wrote.")],
    generated: Generated,
    output: Folder,
    real: Real = _REAL,
    count: Count = 200,
) -> None:
    """Judge on held-back scenes: AUC, misses at 1% false alarms, calibration, unknowns."""
    from mcm.forensics.work import evaluate_detector

    for path in evaluate_detector(weights, real, generated, output, count):
        typer.echo(path)
