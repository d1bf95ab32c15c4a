"""Fit a teacher to your own pictures or videos: commands of `mcm teacher`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcm.cli.training_options import Compiled, Minutes, Rate, Steps

app = typer.Typer()

Teacher = Annotated[str, typer.Option(help="Embedded name or folder.")]
Tuned = Annotated[Path, typer.Option("--output", "-o", help="Folder of the tuned teacher.")]


@app.command("tune-decoder")
def tune_decoder(
    pictures: Annotated[
        list[Path], typer.Argument(help="Folders of videos or images with captions, or shards.")
    ],
    output: Tuned,
    teacher: Teacher = "fluent",
    steps: Steps = 3000,
    lr: Rate = 1e-3,
    minutes: Minutes = None,
) -> None:
    """Fit a teacher's decoder to your own pictures, before their caches are made."""
    from mcm.sampling.catalog import find_model
    from mcm.teacher.loop import LoopConfig
    from mcm.teacher.tuning import tune_decoder as run

    config = LoopConfig(steps=steps, lr=lr, warmup=100, ema_decay=0.998, weight_decay=0.0)
    typer.echo(run(find_model(teacher).teacher, pictures, output, config, minutes))


@app.command()
def tune(
    videos: Annotated[Path, typer.Argument(help="Cache that `mcm data cache` made.")],
    output: Tuned,
    teacher: Teacher = "fluent",
    steps: Steps = 2000,
    lr: Rate = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Clips in a batch.", min=1)] = 8,
    minutes: Minutes = None,
    compiled: Compiled = False,
) -> None:
    """Fine-tune a teacher on your own videos."""
    from mcm.sampling.catalog import find_model
    from mcm.teacher.loop import LoopConfig
    from mcm.teacher.tuning import tune_to_videos

    config = LoopConfig(steps=steps, lr=lr, warmup=100, ema_decay=0.999)
    folder = find_model(teacher).teacher
    typer.echo(tune_to_videos(folder, videos, output, config, batch_size, minutes, compiled))


@app.command()
def adapt(
    images: Annotated[Path, typer.Argument(help="Image shards, or a folder with captions.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the adapted teacher.")],
    teacher: Teacher = "fluent",
    steps: Steps = 1500,
    lr: Rate = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Images in a batch.", min=1)] = 32,
    rank: Annotated[
        int | None, typer.Option(help="Train LoRA of this rank and write that alone.", min=1)
    ] = None,
    minutes: Minutes = None,
    compiled: Compiled = False,
) -> None:
    """Give the image layers the looks of stills: a teacher, or LoRA for one to wear."""
    from mcm.sampling.catalog import find_model
    from mcm.teacher.adaptation import adapt_to_images
    from mcm.teacher.loop import LoopConfig

    config = LoopConfig(steps=steps, lr=lr, warmup=100, ema_decay=0.999)
    folder = find_model(teacher).teacher
    adapt_to_images(folder, images, output, config, batch_size, minutes, compiled, rank)
