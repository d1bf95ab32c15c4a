"""`mcm doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values to change: trainer.batch_size=1"),
    ] = None,
    time: Annotated[bool, typer.Option(help="Predict the seconds of a step as well.")] = True,
) -> None:
    """Predict the memory and the step time of a recipe before it runs."""
    import psutil

    from mcm.doctor.doctor import forecast
    from mcm.doctor.timing import BUDGET
    from mcm.recipe import resolve

    found = forecast(resolve(recipe, overrides or []), budget=BUDGET if time else None)
    for line in found.lines(psutil.virtual_memory().available):
        typer.echo(line)
