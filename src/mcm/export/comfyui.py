"""LoRA files in the key layouts of ComfyUI.

Wan, LTX-Video: ``diffusion_model.<module>.lora_A/lora_B.weight`` with the modules named as in the
model's own code, which the stock loader knows. AnimateDiff: the image layers go into a file for the
stock loader, which knows ``lora_unet_<module>`` keys; the motion layers into one for
AnimateDiff-Evolved, which reads the keys of AnimateDiff's own motion LoRA. CogVideoX: its wrapper
reads the layout of diffusers, and ComfyUI itself has no such model.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mcm.backbones.animatediff import MOTION_MARK
from mcm.backbones.lora_files import LORA_FILE, A, B
from mcm.backbones.lora_save import save_lora
from mcm.errors import UserError
from mcm.export.student import Exported, Pairs, half

IMAGE_FILE = "comfyui_image_lora.safetensors"
MOTION_FILE = "comfyui_motion_lora.safetensors"
FILE = "comfyui_lora.safetensors"
EXPERT_FILES = ("comfyui_lora_high_noise.safetensors", "comfyui_lora_low_noise.safetensors")
_HINTS = {
    "wan": "Copy the files into ComfyUI's `models/loras`; with two, each goes to its own expert. "
    "Sample with euler, CFG 1.",
    "ltx": "Copy the file into ComfyUI's `models/loras`. Sample with euler, CFG 1.",
    "cogvideox": "Copy the file into ComfyUI's `models/CogVideo/loras` (CogVideoXWrapper).",
}
_MOTION_ATTENTION = re.compile(
    r"(.*motion_modules\.\d+)\.transformer_blocks\.(\d+)\.attn([12])\.(to_q|to_k|to_v|to_out)(\.0)?"
)
_WAN = {
    ".attn1.": ".self_attn.",
    ".attn2.": ".cross_attn.",
    ".to_q": ".q",
    ".to_k": ".k",
    ".to_v": ".v",
    ".to_out.0": ".o",
    ".ffn.net.0.proj": ".ffn.0",
    ".ffn.net.2": ".ffn.2",
}


def write_comfyui(exported: Exported, folder: Path) -> None:
    """Write the files of a family.

    Raises:
        UserError: ComfyUI has no loader for it.
    """
    files = [content.pairs for content in exported.lora.values()]
    match exported.family:
        case "animatediff":
            image, motion = image_keys(files[0]), motion_keys(files[0])
            if not image and not motion:
                raise UserError(
                    "format: ComfyUI's LoRA have no place for any layer that this student changes; "
                    "use motion or pipeline"
                )
            for tensors, name in ((image, IMAGE_FILE), (motion, MOTION_FILE)):
                if tensors:
                    save_file(tensors, folder / name)
        case "wan" | "ltx":
            names = [FILE] if len(files) == 1 else EXPERT_FILES
            for name, pairs in zip(names, files, strict=True):
                save_file(transformer_keys(pairs), folder / name)
        case "cogvideox":
            save_lora(exported.backbone, files[0], folder, FILE)
        case family:
            raise UserError(f"format: ComfyUI has no LoRA loader for {family}; use pipeline")


def hint(exported: Exported) -> str:
    """Return where the files go, a sentence or two."""
    if exported.family != "animatediff":
        return _HINTS[exported.family]
    pairs = exported.lora[LORA_FILE].pairs
    image = f"`{IMAGE_FILE}` into ComfyUI's `models/loras`"
    motion = f"`{MOTION_FILE}` into `models/animatediff_motion_lora` (AnimateDiff-Evolved)"
    there = [image] if exported.image_pairs else []
    there += [motion] if motion_keys(pairs) else []
    return f"Copy {' and '.join(there)}."


def transformer_keys(pairs: Pairs) -> dict[str, Tensor]:
    """Return the tensors as ``diffusion_model.<native module>.lora_A/B.weight``.

    LTX-Video's own code names its modules as diffusers does; Wan's names are translated.
    """
    tensors: dict[str, Tensor] = {}
    for module, (a, b) in pairs.items():
        name = f"diffusion_model.{native(module)}"
        tensors[name + A], tensors[name + B] = half(a), half(b)
    return tensors


def native(module: str) -> str:
    """Return the name of a transformer's module in the model's own code."""
    if not module.startswith("blocks."):
        return module
    for theirs, own in _WAN.items():
        module = module.replace(theirs, own)
    return module


def image_keys(pairs: Pairs) -> dict[str, Tensor]:
    """Return the image layers' tensors as ``lora_unet_<module>.lora_down/up.weight`` and alpha.

    α is the rank, so that the scale α/r is 1: it is in B already.
    """
    tensors: dict[str, Tensor] = {}
    for module, (a, b) in pairs.items():
        if MOTION_MARK in module:
            continue
        key = "lora_unet_" + module.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = half(a)
        tensors[f"{key}.lora_up.weight"] = half(b)
        tensors[f"{key}.alpha"] = torch.tensor(float(a.shape[0]), dtype=torch.float16)
    return tensors


def motion_keys(pairs: Pairs) -> dict[str, Tensor]:
    """Return the attention of the motion layers as AnimateDiff's motion LoRA names it.

    That layout has attention only; `left_out` names the others.
    """
    tensors: dict[str, Tensor] = {}
    for module, (a, b) in pairs.items():
        found = _MOTION_ATTENTION.fullmatch(module)
        if not found:
            continue
        place, block, attention, layer, _ = found.groups()
        key = (
            f"{place}.temporal_transformer.transformer_blocks.{block}"
            f".attention_blocks.{int(attention) - 1}.processor.{layer}_lora"
        )
        tensors[f"{key}.down.weight"], tensors[f"{key}.up.weight"] = half(a), half(b)
    return tensors


def left_out(pairs: Pairs) -> list[str]:
    """Return the motion layers that the layout of motion LoRA has no place for."""
    motion = (module for module in pairs if MOTION_MARK in module)
    return [module for module in motion if not _MOTION_ATTENTION.fullmatch(module)]
