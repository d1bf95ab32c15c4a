"""`mcm demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for clips.")] = Path(
        "demo"
    ),
    minutes: Annotated[float, typer.Option(help="Length of the distillation.", min=0.01)] = 4.0,
) -> None:
    """Compare student and teacher, then distil a fresh student."""
    from mcm.demo import run_demo

    for path in run_demo(output, minutes):
        typer.echo(path)
