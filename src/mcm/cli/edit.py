"""`mcm edit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcm.cli.options import Device, Frames

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def edit(
    source: Annotated[Path, typer.Argument(help="Video, or an image to animate.")],
    prompt: Annotated[str, typer.Argument(help="What it shall show.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    format: Annotated[
        str | None,
        typer.Option(help="mp4, gif, webp, webm, frames or sheet.  [default: the output's ending]"),
    ] = None,
    model: Annotated[str, typer.Option(help="Student: an embedded name or a folder.")] = (
        "fluent-mcm"
    ),
    strength: Annotated[float, typer.Option(help="How much may change, above 0 to 1.")] = 0.6,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Network steps; a small strength leaves fewer.  [default: the model's own]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    mask: Annotated[
        Path | None, typer.Option(help="Image, white where the video may change.")
    ] = None,
    start: Annotated[float, typer.Option(help="Second of the video to begin with.")] = 0.0,
    frames: Frames = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Change a video to what a prompt says, in few steps."""
    from mcm.sampling.edit_files import EditRequest, edit_file

    request = EditRequest(
        source=source,
        prompt=prompt,
        output=output,
        format=format,
        model=model,
        strength=strength,
        steps=steps,
        seed=seed,
        mask=mask,
        start=start,
        frames=frames,
        overwrite=overwrite,
        device=device,
        dtype=dtype,
    )
    typer.echo(edit_file(request))
