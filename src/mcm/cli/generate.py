"""`mcm generate`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mcm.cli.options import Device, Frames, Size

app = typer.Typer(add_completion=False, rich_markup_mode=None)


Prompt = Annotated[str | None, typer.Argument(help="What the video shows.")]
Model = Annotated[
    str,
    typer.Option(
        help="Student or teacher: an embedded or published name, a folder, or "
        "OWNER/NAME[@REVISION] of a hub."
    ),
]
Steps = Annotated[
    int | None, typer.Option(help="Network steps, 1 to 50.  [default: the model's own]")
]
Seed = Annotated[int, typer.Option(help="Seed of the first clip.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File, or folder for many clips.")
]
Guidance = Annotated[
    float | None, typer.Option(help="Guidance scale, 1 for none.  [default: the model's own]")
]
Sampler = Annotated[
    str | None,
    typer.Option(help="consistency, ddim, dpmpp_2m, unipc or euler.  [default: the model's own]"),
]
Format = Annotated[
    str | None,
    typer.Option(
        help="mp4, gif, webp, webm, frames or sheet.  [default: the output's ending, or mp4]"
    ),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option(
        help="Instead of PROMPT: text with one prompt per line, or CSV or JSONL with prompt "
        "and, if wanted, seed, steps, output."
    ),
]
NegativePrompt = Annotated[
    str, typer.Option(help="What guidance steers away from.", show_default=False)
]
Stochasticity = Annotated[
    float | None,
    typer.Option(
        help="Share of fresh noise between a student's steps, 0 to 1.  [default: the model's own]"
    ),
]
Loop = Annotated[bool, typer.Option("--loop", help="Make the last frame lead on to the first.")]
Alpha = Annotated[
    bool,
    typer.Option("--alpha", help="Make the plain background transparent (frames, webp, sheet)."),
]
Image = Annotated[
    Path | None, typer.Option(help="Picture that the clips start from (LTX-Video, Wan 2.2 TI2V).")
]
ControlNet = Annotated[
    str | None,
    typer.Option(help="ControlNet to follow (AnimateDiff): a folder, or OWNER/NAME of a hub."),
]
ControlFrames = Annotated[
    Path | None,
    typer.Option(help="What it follows: a video, a folder of pictures, or a picture."),
]
ControlScale = Annotated[float, typer.Option(help="How strictly it is followed, from 0.")]
BatchSize = Annotated[int, typer.Option(help="Clips generated together.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave clips that exist as they are.")
]


@app.command()
def generate(
    context: typer.Context,
    prompt: Prompt = None,
    model: Model = "fluent-mcm",
    steps: Steps = None,
    seed: Seed = 0,
    output: Output = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    format: Format = None,
    prompts_file: PromptsFile = None,
    frames: Frames = None,
    size: Size = None,
    negative_prompt: NegativePrompt = "",
    stochasticity: Stochasticity = None,
    loop: Loop = False,
    alpha: Alpha = False,
    image: Image = None,
    control: ControlNet = None,
    control_frames: ControlFrames = None,
    control_scale: ControlScale = 1.0,
    batch_size: BatchSize = 1,
    device: Device = "auto",
    dtype: Dtype = "auto",
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
) -> None:
    """Generate video from text with a student or a teacher."""
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
        stochasticity=stochasticity,
        loop=loop,
        alpha=alpha,
        image=image,
        control=control,
        control_frames=control_frames,
        control_scale=control_scale,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        overwrite=overwrite,
        skip_existing=skip_existing,
    )
    with _sparing(context, alpha):
        generate_files(request, done=typer.echo)


def _sparing(context: typer.Context, alpha: bool) -> AbstractContextManager[None]:
    """Leave out packages that generating does not need, where the process does nothing else."""
    from mcm.cli.process import without

    if not (context.obj and context.obj["own_process"]):
        return nullcontext()
    return without("peft") if alpha else without("peft", "scipy")
