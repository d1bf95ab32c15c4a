"""`mcm info`."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def info() -> None:
    """Show versions, processors and memory."""
    from mcm.environment import describe

    facts = describe()
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")
