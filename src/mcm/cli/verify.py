"""`mcm verify`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mcm.safety.examiner import Examiner

_USER_ERROR = 2

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(readable=False, help="Videos or images.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Tell whether files are generated: manifest, watermark, detectors.

    Exit code, of several files the highest: 0: it bears a valid manifest or the watermark; 2: it is
    missing or cannot be read; 3: it bears nothing; 4: it was altered after signing; 5: it could not
    be looked at.
    """
    from mcm.safety.examiner import Examiner

    with closing(Examiner()) as examiner:
        raise typer.Exit(max(_told(examiner, file, as_json) for file in files))


def _told(examiner: Examiner, file: Path, as_json: bool) -> int:
    """Print what is known of a file and return its exit code; whatever fails ends no other's."""
    from mcm.errors import UserError
    from mcm.safety.report import UNKNOWN
    from mcm.safety.wording import plain

    try:
        report = examiner.verify(file)
        typer.echo(json.dumps(report.as_dict()) if as_json else report.as_text())
    except BrokenPipeError:
        raise
    except Exception as error:
        mine = isinstance(error, UserError)
        problem = str(error) if mine else f"{file}: {type(error).__name__}: {error}"
        told = json.dumps({"file": str(file), "error": problem})
        typer.echo(told if as_json else f"error: {plain(problem)}", err=not as_json)
        return _USER_ERROR if mine else UNKNOWN
    return report.code
