"""`mcm data`: `cache` for videos and images that users bring, `fluent` for the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mcm.cli import fluent
from mcm.cli.options import Device, Frames, Size

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Prepare training data: cache latents, build the embedded world.",
)
app.add_typer(fluent.app, name="fluent")

Source = Annotated[
    str, typer.Argument(help="Folder with captions.csv or .jsonl, or shards (folder, pattern).")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the cache.")]
Images = Annotated[bool, typer.Option("--images", help="The source holds images, not videos.")]
Model = Annotated[
    str, typer.Option(help="Teacher whose encoders to use: an embedded name or a folder.")
]
Captions = Annotated[
    Path | None, typer.Option(help="CSV or JSONL table of the files in the source folder.")
]
FrameInterval = Annotated[
    int | None,
    typer.Option(help="Take every n-th frame of a video.  [default: by the model's rate]"),
]
Rate = Annotated[float | None, typer.Option(help="Frames per second.  [default: the model's own]")]
Limit = Annotated[int | None, typer.Option(help="Stop at so many samples.")]
MostBad = Annotated[float, typer.Option(help="Fraction of bad samples above which to stop.")]
KeepFrames = Annotated[
    int, typer.Option(help="Frames of a clip to keep as pixels, for a critic without image set.")
]
Reconstruct = Annotated[
    bool,
    typer.Option(
        "--reconstruct",
        help="Keep images as the autoencoder gives them back, so that a critic cannot tell them by "
        "what no latents can hold.",
    ),
]
Latents = Annotated[
    bool,
    typer.Option("--latents", help="Keep the latents of images too, for consistency.image_weight."),
]
GreyWindow = Annotated[
    str | None,
    typer.Option(
        metavar="LOW,HIGH",
        help="Stored values of single-channel data that become black and white.  "
        "[default: all that the bit depth holds]",
    ),
]
BatchSize = Annotated[int, typer.Option(help="Samples encoded at once.")]
Workers = Annotated[int, typer.Option(help="Threads that read ahead.")]


@app.command()
def cache(
    source: Source,
    output: Output,
    images: Images = False,
    model: Model = "fluent",
    captions: Captions = None,
    frame_interval: FrameInterval = None,
    frames: Frames = None,
    fps: Rate = None,
    size: Size = None,
    limit: Limit = None,
    most_bad: MostBad = 0.5,
    keep_frames: KeepFrames = 0,
    reconstruct: Reconstruct = False,
    latents: Latents = False,
    window: GreyWindow = None,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    device: Device = "auto",
) -> None:
    """Encode videos or images with their captions; run again to continue."""
    from mcm.backbones.loading import load_backbone
    from mcm.data.cache import cache_images, cache_videos
    from mcm.data.grey import parse_window
    from mcm.data.sources import open_source
    from mcm.sampling.requests import parse_size

    samples = open_source(source, captions)
    backbone = load_backbone(model, device)
    shared: dict[str, Any] = {
        "size": parse_size(size) if size else None,
        "window": parse_window(window) if window else None,
        "limit": limit,
        "most_bad": most_bad,
        "batch_size": batch_size,
        "workers": workers,
    }
    clips: dict[str, Any] = {
        "frames": frames,
        "fps": fps,
        "frame_interval": frame_interval,
        "keep_frames": keep_frames,
    }
    if images:
        stills: dict[str, Any] = {"reconstruct": reconstruct, "latents": latents}
        typer.echo(cache_images(samples, backbone, output, **stills, **shared))
    else:
        typer.echo(cache_videos(samples, backbone, output, **clips, **shared))
