"""Train the embedded teacher, part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcm.cli import tuning
from mcm.cli.training_options import (
    Compiled,
    Corpus,
    Folder,
    Matrices,
    Minutes,
    Rate,
    Steps,
    Text,
)

_FRAMES = [4]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train the embedded teacher, part by part.",
)

app.add_typer(tuning.app)


@app.command()
def autoencoder(
    output: Folder,
    steps: Steps = 8500,
    lr: Rate = 1.5e-3,
    minutes: Minutes = None,
    init: Annotated[
        Path | None, typer.Option(help="Autoencoder whose fitting layers to begin with.")
    ] = None,
) -> None:
    """Train the latent autoencoder on frames of every domain."""
    from mcm.teacher.autoencoder import train_autoencoder
    from mcm.teacher.loop import LoopConfig

    config = LoopConfig(steps=steps, lr=lr, warmup=100, ema_decay=0.998, weight_decay=0.0)
    train_autoencoder(output, config, minutes, init)


@app.command()
def decoder(
    vae: Annotated[Path, typer.Option(help="Autoencoder whose encoder to keep.")],
    output: Folder,
    steps: Steps = 6000,
    lr: Rate = 1e-3,
    minutes: Minutes = None,
) -> None:
    """Train a sharper decoder for the latents of an autoencoder."""
    from mcm.teacher.decoder import sharpen
    from mcm.teacher.loop import LoopConfig

    config = LoopConfig(steps=steps, lr=lr, warmup=100, ema_decay=0.998, weight_decay=0.0)
    sharpen(vae, output, config, minutes)


@app.command()
def corpus(
    vae: Annotated[Path, typer.Option(help="Folder of the autoencoder.")],
    output: Folder,
    count: Annotated[int, typer.Option(help="Number of clips.", min=1)] = 13850,
    part: Annotated[int, typer.Option(help="Which part of the work to do, from 0.", min=0)] = 0,
    parts: Annotated[int, typer.Option(help="Processes that share the work.", min=1)] = 1,
) -> None:
    """Compose poor video and encode it to latent clips; run again to continue."""
    from diffusers import AutoencoderDC

    from mcm.teacher.corpus import encode_corpus

    encode_corpus(AutoencoderDC.from_pretrained(vae), output, count, part, parts)


@app.command()
def text(
    corpus: Corpus,
    output: Folder,
    steps: Steps = 400,
    lr: Rate = 1e-3,
    minutes: Minutes = None,
) -> None:
    """Learn the vocabulary and train the text encoder against latent video."""
    from mcm.teacher.corpus import load_corpus
    from mcm.teacher.loop import LoopConfig
    from mcm.teacher.text import train_text_encoder

    config = LoopConfig(steps=steps, lr=lr, ema_decay=0.99)
    train_text_encoder(load_corpus(corpus), output, config, minutes)


@app.command()
def words(
    text: Text,
    output: Folder,
    steps: Steps = 1200,
    lr: Rate = 5e-4,
    distance: Annotated[
        float, typer.Option(help="Between the states of two motions.", min=0.0)
    ] = 6.0,
    minutes: Minutes = None,
) -> None:
    """Set the words of motion apart in a text encoder."""
    from mcm.teacher.loop import LoopConfig
    from mcm.teacher.words import spread_motions

    config = LoopConfig(steps=steps, lr=lr, warmup=50, ema_decay=0.98)
    spread_motions(text, output, config, distance, minutes=minutes)


@app.command()
def image(
    corpus: Corpus,
    text: Text,
    output: Folder,
    steps: Steps = 30000,
    lr: Rate = 6e-4,
    batch_size: Annotated[int, typer.Option(help="Frames in a batch.", min=1)] = 64,
    minutes: Minutes = None,
    init: Annotated[Path | None, typer.Option(help="Image UNet to begin with.")] = None,
    compiled: Compiled = False,
) -> None:
    """Train the image UNet on single frames."""
    from mcm.teacher.corpus import load_corpus
    from mcm.teacher.denoiser import train_image_unet
    from mcm.teacher.loop import LoopConfig

    config = LoopConfig(steps=steps, lr=lr, warmup=500, ema_decay=0.9995)
    clips = load_corpus(corpus)
    train_image_unet(clips, text, output, config, batch_size, minutes, init, compiled)


@app.command()
def motion(
    corpus: Corpus,
    text: Text,
    unet: Annotated[Path, typer.Option(help="Image UNet, or a video network to go on with.")],
    output: Folder,
    steps: Steps = 6000,
    lr: Rate = 4e-4,
    frames: Annotated[
        list[int],
        typer.Option(help="Frames of each clip that steps see in turn; repeat it.", min=1),
    ] = _FRAMES,
    batch_frames: Annotated[int, typer.Option(help="Frames in a batch.", min=1)] = 128,
    image_factor: Annotated[
        float, typer.Option(help="Factor of the image layers' rate; 0 keeps them.", min=0.0)
    ] = 0.5,
    shift: Annotated[
        float, typer.Option(help="Timestep shift: above 1 trains more at high noise.", min=0.1)
    ] = 3.0,
    supervision: Annotated[
        float, typer.Option(help="Weight of the deep supervision.", min=0.0)
    ] = 0.1,
    muon: Matrices = False,
    compiled: Compiled = False,
    minutes: Minutes = None,
) -> None:
    """Train the motion modules on clips."""
    from mcm.teacher.corpus import load_corpus
    from mcm.teacher.loop import LoopConfig
    from mcm.teacher.motion import ClipSettings, train_motion

    config = LoopConfig(steps=steps, lr=lr, warmup=100, muon=muon, ema_decay=0.998, log_every=25)
    clips = load_corpus(corpus)
    train_motion(
        clips,
        text,
        unet,
        output,
        config,
        ClipSettings(frames, batch_frames, shift, supervision),
        image_factor=image_factor,
        compiled=compiled,
        minutes=minutes,
    )


@app.command()
def transformer(
    corpus: Corpus,
    text: Text,
    output: Folder,
    steps: Steps = 10000,
    lr: Rate = 6e-4,
    stills: Annotated[
        bool, typer.Option("--stills", help="Learn single frames, as a start.")
    ] = False,
    batch_frames: Annotated[int, typer.Option(help="Frames in a batch.", min=1)] = 256,
    supervision: Annotated[
        float, typer.Option(help="Weight of the deep supervision.", min=0.0)
    ] = 0.1,
    init: Annotated[Path | None, typer.Option(help="Transformer to begin with.")] = None,
    muon: Matrices = False,
    compiled: Compiled = False,
    minutes: Minutes = None,
) -> None:
    """Train the transformer of the second teacher, on single frames or on clips."""
    from mcm.teacher.corpus import load_corpus
    from mcm.teacher.loop import LoopConfig
    from mcm.teacher.transformer import train_transformer

    config = LoopConfig(steps=steps, lr=lr, warmup=200, muon=muon, ema_decay=0.998)
    train_transformer(
        load_corpus(corpus),
        text,
        output,
        config,
        stills=stills,
        batch_frames=batch_frames,
        supervision=supervision,
        init=init,
        compiled=compiled,
        minutes=minutes,
    )


@app.command()
def assemble(
    vae: Annotated[Path, typer.Option(help="Folder of the autoencoder.")],
    text: Text,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    unet: Annotated[Path | None, typer.Option(help="Folder of the trained motion UNet.")] = None,
    transformer: Annotated[
        Path | None, typer.Option(help="Folder of the trained transformer, in its place.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="Best guidance scale of the teacher.")] = 5.0,
    distilled: Annotated[
        tuple[float, float],
        typer.Option("--distil-guidance", help="Least and greatest scale to distil at."),
    ] = (4.0, 6.0),
    linked: Annotated[
        bool, typer.Option("--link", help="Link what a transformer's teacher shares with others.")
    ] = False,
) -> None:
    """Put the parts together as a stock diffusers folder."""
    from mcm.errors import UserError
    from mcm.teacher.assemble import assemble as write
    from mcm.teacher.assemble import assemble_transformer

    least, greatest = distilled
    if not 1 <= least <= greatest:
        raise UserError(
            f"--distil-guidance: is {least:g} {greatest:g}, expected two scales of at least 1, "
            "the smaller one first (1 is no guidance)"
        )
    scales = (guidance, (least - 1, greatest - 1))
    if unet is not None and transformer is None:
        typer.echo(write(vae, text, unet, output, *scales))
    elif transformer is not None and unet is None:
        typer.echo(assemble_transformer(vae, text, transformer, output, *scales, linked=linked))
    else:
        raise UserError("assemble: expected --unet or --transformer, one of the two")
