"""The lines of code that load an export in stock diffusers; a test runs them as they are."""

from __future__ import annotations

import json

from mcm.backbones.latents import FrameCodec
from mcm.export.base import Place
from mcm.export.student import Exported

_IMPORTS = """import torch
from diffusers import {classes}
"""
_EMBEDDED = """from importlib.util import find_spec

base = find_spec("mcm").submodule_search_locations[0] + "/weights/{name}"
"""
_TEACHER = """pipeline = {pipeline}.from_pretrained({base})
"""
_SCHEDULER = """pipeline.scheduler = {scheduler}.from_pretrained({place}, subfolder="scheduler")
"""
_LORA = """pipeline.load_lora_weights({place})
assert pipeline.get_list_adapters(), "nothing was loaded"
"""
_SECOND = """pipeline.load_lora_weights(
    {place},
    weight_name="pytorch_lora_weights_2.safetensors",
    load_into_transformer_2=True,
)
"""
_PEFT = """from peft import PeftModel
pipeline.unet = PeftModel.from_pretrained(pipeline.unet, {place}).merge_and_unload()
"""
_IMAGE_MODEL = """motion = MotionAdapter.from_pretrained({motion})
pipeline = AnimateDiffPipeline.from_pretrained({base}, motion_adapter=motion)
"""
_MOTION = """motion = MotionAdapter.from_pretrained({motion})
pipeline.unet.load_motion_modules(motion)
"""
_MERGED = """pipeline = {pipeline}.from_pretrained({place})
"""
_CALL = """video = pipeline(
    {prompt},
    num_frames={frames}, height={height}, width={width}, num_inference_steps={steps},
    guidance_scale=1.0,{more} generator=torch.Generator().manual_seed(0),
).frames[0]
"""
_DECODE = """# The pipeline makes one frame more than asked for; each is decoded by itself.
with torch.no_grad():
    frames = pipeline.vae.decode(video.transpose(0, 1) / pipeline.vae.config.scaling_factor).sample
video = pipeline.video_processor.postprocess(frames)
"""


def usage(exported: Exported, place: str, format: str, prompt: str, scheduler: str) -> str:
    """Return Python that loads an export and makes a clip.

    Args:
        exported: What is exported.
        place: Folder or repository where it will be.
        format: ``lora``, ``motion`` or ``pipeline``.
        prompt: Of the clip.
        scheduler: Class of the scheduler.
    """
    spec = exported.backbone.spec
    call = _CALL.format(
        prompt=_quoted(prompt),
        frames=spec.frames - _decodes_frames(exported),
        height=spec.height,
        width=spec.width,
        steps=exported.student.card.steps,
        more=_more(exported),
    )
    whole = _loading(exported, place, format, scheduler) + call
    return whole + (_DECODE if _decodes_frames(exported) else "")


def _loading(exported: Exported, place: str, format: str, scheduler: str) -> str:
    """Return the lines that make the pipeline."""
    merged = format == "pipeline"
    needs_motion = not merged and (exported.of_image_model or format == "motion")
    pipeline = exported.backbone.pipeline
    classes = {pipeline, *([] if merged else [scheduler])}
    classes |= {"MotionAdapter"} if needs_motion else set()
    imports = _IMPORTS.format(classes=", ".join(sorted(classes)))
    if merged:
        return f"{imports}\n" + _MERGED.format(pipeline=pipeline, place=_quoted(place))
    if exported.base.is_embedded:
        imports += _EMBEDDED.format(name=exported.base.name)
    parts = {"lora": _adapter(exported), "motion": _LORA if exported.image_pairs else ""}
    motion = _arguments(exported.motion) if exported.motion else ""
    if format == "motion":
        motion = f'{_quoted(place)}, subfolder="motion_adapter"'
    return f"{imports}\n" + (_teacher(exported, format) + parts[format] + _SCHEDULER).format(
        base=_arguments(exported.base),
        place=_quoted(place),
        pipeline=pipeline,
        scheduler=scheduler,
        motion=motion,
    )


def _arguments(place: Place) -> str:
    """Return the arguments of `from_pretrained` for a model that others have."""
    if place.is_embedded:
        return "base"
    revision = f", revision={_quoted(place.revision)}" if place.revision else ""
    return _quoted(place.repository or place.name) + revision


def _quoted(text: str) -> str:
    """Return a text as Python, and YAML, write it."""
    return json.dumps(text, ensure_ascii=False)


def _more(exported: Exported) -> str:
    """Return the arguments that only some pipelines need."""
    spec = exported.backbone.spec
    if spec.family == "ltx":
        return f" frame_rate={spec.fps},"
    if _decodes_frames(exported):
        return f'\n    max_sequence_length={spec.max_tokens}, output_type="latent",'
    return ""


def _decodes_frames(exported: Exported) -> bool:
    """Whether the pipeline's class expects a video autoencoder, and the model has another.

    `WanPipeline` then makes one frame more than it is asked for: it rounds up to 1 + n · 1.
    """
    backbone = exported.backbone
    return backbone.spec.family == "wan" and isinstance(backbone.codec, FrameCodec)


def _teacher(exported: Exported, format: str) -> str:
    if exported.of_image_model:
        return _IMAGE_MODEL
    return _TEACHER + (_MOTION if format == "motion" else "")


def _adapter(exported: Exported) -> str:
    from mcm.export.lora import OF_PEFT

    if exported.family in OF_PEFT:
        return _PEFT
    return _LORA + (_SECOND if len(exported.lora) > 1 else "")
