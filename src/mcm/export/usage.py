"""The lines of code that load an export in stock diffusers; a test runs them as they are."""

from __future__ import annotations

from pathlib import Path

from mcm.backbones.latents import FrameCodec
from mcm.export.student import Exported

_TEACHER = """import torch
from diffusers import {classes}

pipeline = {pipeline}.from_pretrained("{base}")
"""
_SCHEDULER = """pipeline.scheduler = {scheduler}.from_pretrained("{folder}", subfolder="scheduler")
"""
_LORA = """pipeline.load_lora_weights("{folder}")
assert pipeline.get_list_adapters(), "nothing was loaded"
"""
_SECOND = """pipeline.load_lora_weights(
    "{folder}",
    weight_name="pytorch_lora_weights_2.safetensors",
    load_into_transformer_2=True,
)
"""
_PEFT = """from peft import PeftModel
pipeline.unet = PeftModel.from_pretrained(pipeline.unet, "{folder}").merge_and_unload()
"""
_IMAGE_MODEL = """import torch
from diffusers import AnimateDiffPipeline, {classes}

motion = MotionAdapter.from_pretrained("{motion}")
pipeline = AnimateDiffPipeline.from_pretrained("{base}", motion_adapter=motion)
"""
_MOTION = """motion = MotionAdapter.from_pretrained("{folder}/motion_adapter")
pipeline.unet.load_motion_modules(motion)
"""
_MERGED = """import torch
from diffusers import {pipeline}

pipeline = {pipeline}.from_pretrained("{folder}")
"""
_CALL = """video = pipeline(
    "{prompt}",
    num_frames={frames}, height={height}, width={width}, num_inference_steps={steps},
    guidance_scale=1.0,{more} generator=torch.Generator().manual_seed(0),
).frames[0]
"""
_DECODE = """# The pipeline makes one frame more than asked for; each is decoded by itself.
with torch.no_grad():
    frames = pipeline.vae.decode(video.transpose(0, 1) / pipeline.vae.config.scaling_factor).sample
video = pipeline.video_processor.postprocess(frames)
"""


def usage(exported: Exported, folder: Path, format: str, prompt: str, scheduler: str) -> str:
    """Return Python that loads an export and makes a clip.

    Args:
        exported: What is exported.
        folder: Where it will be.
        format: ``lora``, ``motion`` or ``pipeline``.
        prompt: Of the clip.
        scheduler: Class of the scheduler.
    """
    backbone, spec = exported.backbone, exported.backbone.spec
    parts = {
        "lora": _teacher(exported, format) + _adapter(exported) + _SCHEDULER,
        "motion": _teacher(exported, format) + _LORA + _SCHEDULER,
        "pipeline": _MERGED,
    }
    classes = sorted({scheduler, *(["MotionAdapter"] if _needs_motion(exported, format) else [])})
    motion = exported.motion_adapter or ""
    if format == "motion":
        motion = f"{folder}/motion_adapter"
    whole = parts[format].format(
        base=exported.base,
        folder=folder,
        pipeline=backbone.pipeline,
        scheduler=scheduler,
        motion=motion,
        classes=", ".join(classes if exported.of_image_model else [backbone.pipeline, *classes]),
    )
    call = _CALL.format(
        prompt=prompt,
        frames=spec.frames - _decodes_frames(exported),
        height=spec.height,
        width=spec.width,
        steps=exported.student.card.steps,
        more=_more(exported),
    )
    return whole + call + (_DECODE if _decodes_frames(exported) else "")


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


def _needs_motion(exported: Exported, format: str) -> bool:
    return exported.of_image_model or format == "motion"


def _adapter(exported: Exported) -> str:
    from mcm.export.lora import OF_PEFT

    if exported.family in OF_PEFT:
        return _PEFT
    return _LORA + (_SECOND if len(exported.lora) > 1 else "")
