"""`mcm verify`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

_USER_ERROR = 2

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Videos or images.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Tell whether files are generated: manifest, watermark, detectors.

    Exit code 0: every file bears a valid manifest or the watermark; 2: some file is missing; 3:
    some file bears nothing; 4: some file was altered after signing.
    """
    from mcm.errors import UserError
    from mcm.safety.examiner import Examiner

    codes, missing = [0], False
    with closing(Examiner()) as examiner:
        for file in files:
            try:
                report = examiner.verify(file)
            except UserError as error:
                missing = True
                told = json.dumps({"file": str(file), "error": str(error)})
                typer.echo(told if as_json else f"error: {error}", err=not as_json)
                continue
            typer.echo(json.dumps(report.as_dict()) if as_json else report.as_text())
            codes.append(report.code)
    raise typer.Exit(_USER_ERROR if missing else max(codes))
