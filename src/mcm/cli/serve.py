"""`mcm serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcm.cli.options import Device

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Models = Annotated[
    list[str] | None,
    typer.Argument(
        help="Students and teachers: embedded names, folders or NAME=FOLDER; the first is the "
        "default.  "
        "[default: all embedded]",
        metavar="[MODEL]...",
    ),
]
Folder = Annotated[
    Path,
    typer.Option("--output", "-o", help="Own folder of jobs and clips; continued if there."),
]
Keys = Annotated[
    Path | None, typer.Option(help="File with one API key per line.  [default: none is asked for]")
]


@app.command()
def serve(
    models: Models = None,
    folder: Folder = Path("serve"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port, 0 for any free one.")] = 8000,
    keys: Keys = None,
    page: Annotated[bool, typer.Option(help="Serve the web page as well.")] = True,
    batch_size: Annotated[int, typer.Option(help="Jobs generated together.")] = 4,
    queue_limit: Annotated[int, typer.Option(help="Jobs that may wait or run.")] = 64,
    time_limit: Annotated[float, typer.Option(help="Seconds of a batch, or inf.")] = 600.0,
    attempts: Annotated[int, typer.Option(help="Starts of a job that kills the server.")] = 3,
    grace: Annotated[float, typer.Option(help="Seconds to finish in when stopped, or inf.")] = 20.0,
    keep_hours: Annotated[float, typer.Option(help="Hours to keep jobs, or inf.")] = 168.0,
    most_steps: Annotated[int, typer.Option(help="Steps that a job may ask for.")] = 50,
    most_side: Annotated[int, typer.Option(help="Pixels of height and width.")] = 1024,
    most_prompt: Annotated[int, typer.Option(help="Characters of a prompt.")] = 2000,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Serve models over HTTP and on a web page."""
    from mcm.sampling.catalog import embedded_models, find_model
    from mcm.serving.config import ServeConfig
    from mcm.serving.serve import serve as run

    embedded = sorted(embedded_models(), key=lambda name: find_model(name).student is None)
    config = ServeConfig(
        models=tuple(models or embedded),
        folder=folder,
        host=host,
        port=port,
        keys=keys,
        page=page,
        batch_size=batch_size,
        queue_limit=queue_limit,
        time_limit=time_limit,
        attempts=attempts,
        grace=grace,
        keep_hours=keep_hours,
        most_steps=most_steps,
        most_side=most_side,
        most_prompt=most_prompt,
        device=device,
        dtype=dtype,
    )
    run(config)
