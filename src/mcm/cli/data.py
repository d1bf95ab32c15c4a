"""`mcm data`: `cache` for videos and images that users bring, `fluent` for the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcm.cli import fluent

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Prepare training data: cache latents, build the embedded world.",
)
app.add_typer(fluent.app, name="fluent")


@app.command()
def cache(
    source: Annotated[
        Path, typer.Argument(help="Folder of WebDataset shards, or of files with --captions.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the cache.")],
    images: Annotated[
        bool, typer.Option("--images", help="The source holds images, not videos.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Teacher whose encoders to use: an embedded name or a folder.")
    ] = "fluent",
    captions: Annotated[
        Path | None, typer.Option(help="CSV or JSONL file with the columns file and caption.")
    ] = None,
    frame_interval: Annotated[
        int, typer.Option(help="Take every n-th frame of a video.", min=1)
    ] = 1,
    batch_size: Annotated[int, typer.Option(help="Samples encoded at once.", min=1)] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
) -> None:
    """Encode videos or images with their captions; run again to continue."""
    from mcm.data.cache import cache_images, cache_videos

    shared = {"model": model, "captions": captions, "batch_size": batch_size, "device": device}
    if images:
        typer.echo(cache_images(source, output, **shared))
    else:
        typer.echo(cache_videos(source, output, frame_interval=frame_interval, **shared))
