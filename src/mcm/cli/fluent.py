"""`mcm data fluent`: the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Domain = Literal["video", "image", "flat"]
Split = Literal["train", "evaluation"]

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


@app.command()
def shards(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the shards.")],
    domain: Annotated[Domain, typer.Option(help="Which look.")] = "video",
    count: Annotated[int, typer.Option(help="Number of samples.", min=1)] = 1000,
    split: Annotated[Split, typer.Option(help="Which combinations.")] = "train",
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 0,
) -> None:
    """Compose samples of a domain as WebDataset shards."""
    from mcm.data.fluent.shards import write_shards

    for path in write_shards(output, domain, count, split, seed):
        typer.echo(path)


@app.command()
def sheet(
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")],
    rows: Annotated[int, typer.Option(help="Clips, and rows of stills, to show.", min=1)] = 6,
    split: Annotated[Split, typer.Option(help="Which combinations.")] = "train",
) -> None:
    """Draw a contact sheet of all three domains."""
    from mcm.data.fluent.sheet import write_sheet

    typer.echo(write_sheet(output, rows, split))
