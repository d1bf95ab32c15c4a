"""`mcm distill`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def distill(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Values to change: optimizer.lr=1e-5"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(metavar="latest|PATH", help="Continue from a checkpoint."),
    ] = None,
) -> None:
    """Distil a teacher into a student of few steps, as a recipe says."""
    from mcm.recipe import dump, resolve

    resumed = [] if resume is None else [f"trainer.resume={json.dumps(resume)}"]
    resolved = resolve(recipe, [*(overrides or []), *resumed])
    if dry_run:
        typer.echo(dump(resolved), nl=False)
        return
    from mcm.distillation.run import distill as run

    typer.echo(run(resolved))
