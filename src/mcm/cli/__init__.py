"""The command line `mcm`: names and summaries here, one thin file per command beside."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mcm.cli.group import LazyCommand, LazyGroup

COMMANDS = {
    "demo": "Compare student and teacher, then distil a fresh student.",
    "distill": "Distil a teacher into a student of few steps, as a recipe says.",
    "generate": "Generate video from text with a student or a teacher.",
    "edit": "Change a video to what a prompt says, in few steps.",
    "verify": "Tell whether files are generated: manifest, watermark, detectors.",
    "detector": "Train and judge the detector of generated clips.",
    "serve": "Serve models over HTTP and on a web page.",
    "export": "Write a student in the layout of another tool.",
    "evaluate": "Compare models at few steps on one protocol.",
    "data": "Prepare training data: cache latents, build the embedded world.",
    "teacher": "Train the embedded teacher, part by part.",
    "judges": "Train the networks that judge clips, on real material.",
    "doctor": "Predict the memory and the step time of a recipe before it runs.",
    "info": "Show versions, processors and memory.",
    "version": "Show the version of mcm.",
}
"""Name and summary of every command; the code of NAME is `mcm.cli.NAME`, loaded when it runs."""

app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Motion Consistency Model: distil video diffusion, generate in 1 to 8 steps."""


def build() -> LazyGroup:
    """Return the root command with every command's name and summary."""
    root = typer.main.get_command(app)
    assert isinstance(root, LazyGroup)
    for name, summary in COMMANDS.items():
        root.add_command(LazyCommand(name, f"mcm.cli.{name}", summary))
    return root


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the console script `mcm` calls this.

    Args:
        arguments: What follows `mcm`; the process's own arguments if not given. `--debug` may
            stand anywhere.

    Raises:
        SystemExit: Always; 0 done, 1 failed, 2 the user can mend it, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words = ["--debug", *(word for word in words if word != "--debug")]
    own_process = arguments is None
    try:
        build().main(words, prog_name="mcm", obj={"own_process": own_process})
    finally:
        if own_process:
            gc.freeze()  # leaving need not look through every object again: 0.8 seconds
