"""`mcm version`."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def version() -> None:
    """Show the version of mcm."""
    from mcm import __version__

    typer.echo(f"mcm {__version__}")
