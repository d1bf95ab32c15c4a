"""A command group that knows its commands' names but loads their code only to run them."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from mcm.cli.failures import describe


class LazyCommand(TyperCommand):
    """A command's name and summary, and the module that holds its code."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary, rich_markup_mode=None)
        self.module = module

    def load(self) -> Any:
        """Import the module and return the command of its `app`."""
        command = typer.main.get_command(importlib.import_module(self.module).app)
        command.name = self.name
        return command


class LazyGroup(TyperGroup):
    """The root group: loads a command when it is called and reports every failure."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that the arguments name, and load it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn a failure into one message on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            failure = describe(error, ctx.invoked_subcommand)
            if failure is None or ctx.params.get("debug"):
                raise
            typer.echo(f"mcm: {failure.message}", err=True)
            raise typer.Exit(failure.code) from None
