"""What the documentation takes from the code when it is built."""

from __future__ import annotations

from typing import Any

import typer
from typer.cli import get_docs_for_click

from mcm.cli import build

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the command line's own help in the place of its mark; mkdocs calls this."""
    return markdown.replace(MARK, commands()) if MARK in markdown else markdown


def commands() -> str:
    """Return a section on every command, with its arguments and options."""
    loaded = {name: command.load() for name, command in build().commands.items()}
    return "\n".join(
        get_docs_for_click(
            obj=command, ctx=typer.Context(command), indent=1, name=name, call_prefix="mcm"
        )
        for name, command in loaded.items()
    )
