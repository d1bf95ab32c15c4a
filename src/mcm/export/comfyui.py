"""LoRA files in the key layouts of ComfyUI.

The image layers go into a file for the stock loader, which knows ``lora_unet_<module>`` keys; the
motion layers into one for AnimateDiff-Evolved, which reads the keys of AnimateDiff's own motion
LoRA.
"""

from __future__ import annotations

import re
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from mcm.export.student import Exported, half

IMAGE_FILE = "comfyui_image_lora.safetensors"
MOTION_FILE = "comfyui_motion_lora.safetensors"
Pairs = dict[str, tuple[Tensor, Tensor]]


def write_comfyui(exported: Exported, folder: Path) -> None:
    """Write both files."""
    pairs = exported.lora().pairs
    save_file(image_keys(pairs), folder / IMAGE_FILE)
    motion = motion_keys(pairs)
    if motion:
        save_file(motion, folder / MOTION_FILE)


def image_keys(pairs: Pairs) -> dict[str, Tensor]:
    """Return the image layers' tensors as ``lora_unet_<module>.lora_down/up.weight`` and alpha.

    α is the rank, so that the scale α/r is 1: it is in B already.
    """
    tensors: dict[str, Tensor] = {}
    for module, (a, b) in pairs.items():
        if "motion_modules." in module:
            continue
        key = "lora_unet_" + module.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = half(a)
        tensors[f"{key}.lora_up.weight"] = half(b)
        tensors[f"{key}.alpha"] = half(a.new_tensor(float(a.shape[0])))
    return tensors


def motion_keys(pairs: Pairs) -> dict[str, Tensor]:
    """Return the attention of the motion layers as AnimateDiff's motion LoRA names it.

    That layout has attention only; feed-forward layers of an adapter are left out.
    """
    tensors: dict[str, Tensor] = {}
    for module, (a, b) in pairs.items():
        found = re.fullmatch(
            r"(.*motion_modules\.\d+)\.transformer_blocks\.(\d+)\.attn([12])\.(to_q|to_k|to_v|to_out)(\.0)?",
            module,
        )
        if not found:
            continue
        place, block, attention, layer, _ = found.groups()
        key = (
            f"{place}.temporal_transformer.transformer_blocks.{block}"
            f".attention_blocks.{int(attention) - 1}.processor.{layer}_lora"
        )
        tensors[f"{key}.down.weight"], tensors[f"{key}.up.weight"] = half(a), half(b)
    return tensors
