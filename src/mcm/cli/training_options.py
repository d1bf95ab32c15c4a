"""Options that the trainings of a teacher share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the run; resumed if there.")
]
Steps = Annotated[int, typer.Option(help="Optimiser steps of the whole run.", min=1)]
Matrices = Annotated[
    bool, typer.Option("--muon", help="Move the matrices of hidden layers by Muon.")
]
Rate = Annotated[float, typer.Option("--lr", help="Peak learning rate.", min=0.0)]
Minutes = Annotated[
    float | None, typer.Option(help="Save and stop after so many minutes.", min=0.01)
]
Corpus = Annotated[Path, typer.Option(help="Folder that `mcm teacher corpus` wrote.")]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Compile the network first; needs a C++ compiler.")
]
Text = Annotated[Path, typer.Option(help="Folder that `mcm teacher text` wrote.")]
