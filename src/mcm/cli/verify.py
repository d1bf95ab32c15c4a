"""`mcm verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Videos or images.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Tell whether files are generated: manifest, watermark, detectors.

    Exit code 0: every file bears a valid manifest or the watermark; 3: some file bears nothing;
    4: some file was altered after signing.
    """
    from mcm.safety.verify import verify as verify_file

    code = 0
    for file in files:
        report = verify_file(file)
        typer.echo(json.dumps(report.as_dict()) if as_json else report.as_text())
        code = max(code, report.code)
    raise typer.Exit(code)
