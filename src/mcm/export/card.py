"""The model card of an export: what it is, how it was made, how to load it."""

from __future__ import annotations

import json
from pathlib import Path

from mcm import __version__
from mcm.backbones.adapters import read_notes
from mcm.export.student import Exported
from mcm.recipe import FILE_NAME

_USE = {
    "lora": """import torch
from diffusers import AnimateDiffPipeline, LCMScheduler

pipeline = AnimateDiffPipeline.from_pretrained("{base}")
pipeline.load_lora_weights("{folder}")
assert pipeline.get_list_adapters(), "nothing was loaded"
pipeline.scheduler = LCMScheduler.from_pretrained("{folder}", subfolder="scheduler")
""",
    "pipeline": """import torch
from diffusers import AnimateDiffPipeline

pipeline = AnimateDiffPipeline.from_pretrained("{folder}")
""",
}
_CALL = """video = pipeline(
    "{prompt}",
    num_frames={frames}, height={height}, width={width}, num_inference_steps={steps},
    guidance_scale=1.0, generator=torch.Generator().manual_seed(0),
).frames[0]
"""


def card(exported: Exported, folder: Path, format: str, licence: str, prompt: str) -> str:
    """Return the text of ``README.md`` with the metadata that model hubs read.

    Args:
        exported: What is exported.
        folder: Where it will be, for the lines that load it.
        format: Of the export.
        licence: As model hubs spell it.
        prompt: Of the example.
    """
    base = exported.student.card.base
    head = [
        "---",
        f"license: {licence}",
        f"base_model: {base}",
        "library_name: diffusers",
        "pipeline_tag: text-to-video",
        "tags: [motion-consistency-model, text-to-video, few-step]",
        "---",
        f"# {exported.student.folder.name}: few-step video by motion consistency distillation",
        "",
        f"A student of `{base}` that generates video in 1 to 8 network steps, made with "
        f"mcm {__version__} by motion consistency distillation (arXiv 2406.06890).",
        "",
    ]
    return "\n".join([*head, *_usage(exported, folder, format, prompt), *_facts(exported)]) + "\n"


def _usage(exported: Exported, folder: Path, format: str, prompt: str) -> list[str]:
    if format not in _USE:
        return [
            "Copy the files into ComfyUI's `models/loras` and `models/animatediff_motion_lora`.",
            "",
        ]
    spec = exported.backbone.spec
    code = _USE[format].format(base=exported.student.card.base, folder=folder)
    call = _CALL.format(
        prompt=prompt,
        frames=spec.frames,
        height=spec.height,
        width=spec.width,
        steps=exported.student.card.steps,
    )
    return ["## Use", "", "```python", f"{code}{call}```", ""]


def _facts(exported: Exported) -> list[str]:
    notes = json.dumps(read_notes(exported.student.folder), indent=2, ensure_ascii=False)
    lines = ["## How it was made", "", "```json", notes, "```", ""]
    recipe = exported.student.folder / FILE_NAME
    if recipe.is_file():
        text = recipe.read_text(encoding="utf-8").rstrip()
        lines += ["The whole recipe:", "", "```yaml", text, "```"]
    return lines
