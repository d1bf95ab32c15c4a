"""`mcm generate`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def generate(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="What the video shows.")] = None,
    model: Annotated[
        str, typer.Option(help="Student or teacher: an embedded name or a folder.")
    ] = "fluent-mcm",
    steps: Annotated[
        int | None, typer.Option(help="Network steps, 1 to 50.  [default: the model's own]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first clip.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File, or folder for many clips.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale, 1 for none.  [default: the model's own]")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="consistency, ddim, dpmpp_2m, unipc or euler.  [default: the model's own]"
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="mp4, gif, webp, webm, frames or sheet.  [default: the output's ending, or mp4]"
        ),
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            help="Instead of PROMPT: text with one prompt per line, or CSV or JSONL with prompt "
            "and, if wanted, seed, steps, output."
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of a clip.  [default: the model's own]")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Pixels.  [default: the model's own]"),
    ] = None,
    negative_prompt: Annotated[
        str, typer.Option(help="What guidance steers away from.", show_default=False)
    ] = "",
    batch_size: Annotated[int, typer.Option(help="Clips generated together.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Generate video from text with a student or a teacher."""
    from mcm.cli.process import without
    from mcm.sampling.generate import generate_files
    from mcm.sampling.requests import GenerateRequest

    request = GenerateRequest(
        prompt=prompt,
        prompts_file=prompts_file,
        model=model,
        steps=steps,
        seed=seed,
        output=output,
        guidance=guidance,
        sampler=sampler,
        format=format,
        frames=frames,
        size=size,
        negative_prompt=negative_prompt,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        overwrite=overwrite,
    )
    alone = bool(context.obj and context.obj["own_process"])
    with without("peft", "scipy") if alone else nullcontext():
        for path in generate_files(request):
            typer.echo(path)
