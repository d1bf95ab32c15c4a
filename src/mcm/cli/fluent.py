"""`mcm data fluent`: the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Build the embedded world `fluent`.",
)


@app.callback()
def _fluent() -> None:
    """Build the embedded world `fluent`."""


@app.command()
def pack(
    packages: Annotated[Path, typer.Argument(help="The node_modules folder of the artwork.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Zip file to write.")],
) -> None:
    """Pack the artwork of the npm packages into one file."""
    from mcm.data.fluent.builder import build_pack

    typer.echo(build_pack(packages, output))
