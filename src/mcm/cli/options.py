"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Frames = Annotated[int | None, typer.Option(help="Frames of a clip.  [default: the model's own]")]
Size = Annotated[
    str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Pixels.  [default: the model's own]")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")]
