"""`mcm evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcm.cli.options import Device

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Models = Annotated[
    list[str],
    typer.Argument(
        help="Students, teachers, baselines: NAME or folder, then if wanted "
        ":sampler=…,guidance=…,stochasticity=…,label=… and @STEPS, as fluent:sampler=unipc@4,8.",
        metavar="MODEL...",
    ),
]


@app.command()
def evaluate(
    models: Models,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; continued if there.")],
    steps: Annotated[str, typer.Option(help="Steps of models that name none.")] = "1,2,4,8",
    teacher: Annotated[
        str | None, typer.Option(help="Its 50 steps are the measure of motion; empty for none.")
    ] = "fluent",
    count: Annotated[
        int | None, typer.Option(help="Clips of a run.  [default: the whole protocol]", min=2)
    ] = None,
    real: Annotated[int, typer.Option(help="Real clips and stills to compare with.", min=2)] = 2252,
    protocol: Annotated[
        Path | None, typer.Option(help="YAML of another protocol than the embedded world's.")
    ] = None,
    shown: Annotated[int, typer.Option(help="Prompts whose clips the page shows.", min=0)] = 8,
    part: Annotated[int, typer.Option(help="Which part of the work to do, from 0.", min=0)] = 0,
    parts: Annotated[int, typer.Option(help="Processes that share the work.", min=1)] = 1,
    judges: Annotated[
        Path | None,
        typer.Option(help="Folder of `mcm judges`; what it lacks is the package's."),
    ] = None,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="Number format: auto, float32, bfloat16, float16.")
    ] = "auto",
) -> None:
    """Compare models at few steps on one protocol.

    Run it again to continue where it was broken off.
    """
    from mcm.evaluation.evaluate import evaluate_models
    from mcm.sampling.telling import warnings_to

    work = (part, parts)
    asked = (models, output, steps, teacher, count, real, protocol, shown, work)
    with warnings_to(sys.stderr):
        found = evaluate_models(*asked, judges, device, dtype)
    for path in found.files:
        typer.echo(path)
    if not found.files:
        typer.echo(
            f"part {part} of {parts} is done, others are not: when they are, run this again "
            "without --part and --parts for the report"
        )
