"""`mcm judges`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcm.cli.training_options import Folder, Minutes

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train the networks that judge clips, on real material.",
)


@app.command()
def concept(
    shards: Annotated[Path, typer.Argument(help="Folder of video shards.")],
    output: Folder,
    minutes: Minutes = None,
) -> None:
    """Train the network that names the concept, and measure it."""
    from mcm.evaluation.concept_training import measure, train_concept_judge

    weights = output / "concept.safetensors"
    train_concept_judge(shards, output, weights, minutes=minutes)
    typer.echo(measure(weights))


@app.command()
def frames(output: Folder, minutes: Minutes = None) -> None:
    """Train the features of single frames, which FID compares."""
    from mcm.evaluation.feature_training import train_frame_net

    train_frame_net(output, output / "frames.safetensors", minutes=minutes)


@app.command()
def clips(output: Folder, minutes: Minutes = None) -> None:
    """Train the features of clips and captions, which FVD, alignment and diversity read."""
    from mcm.evaluation.feature_training import train_clip_net

    train_clip_net(output, output / "clips.safetensors", minutes=minutes)
