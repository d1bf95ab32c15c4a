"""`mcm export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Student: an embedded name, a folder, or of a hub.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    format: Annotated[
        str,
        typer.Option(help="lora and pipeline for stock diffusers, motion (AnimateDiff), comfyui."),
    ] = "lora",
    licence: Annotated[str, typer.Option("--license", help="Licence in the model card.")] = "other",
    prompt: Annotated[
        str, typer.Option(help="Of the model card's example.")
    ] = "a fox moving left on a blue background",
    metrics: Annotated[
        Path | None, typer.Option(help="report.json of `mcm evaluate`, for the model card.")
    ] = None,
    sample: Annotated[
        list[Path] | None, typer.Option(help="Clip for the model card; may be given again.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="Repository of the hub to upload to, OWNER/NAME.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Where others find the teacher: OWNER/NAME[@REVISION] of a hub."),
    ] = None,
) -> None:
    """Write a student in the layout of another tool."""
    from mcm.export.card import CardOptions
    from mcm.export.export import export_student

    options = CardOptions(licence, prompt, metrics, tuple(sample or ()))
    typer.echo(export_student(model, output, format, options, push, base))
