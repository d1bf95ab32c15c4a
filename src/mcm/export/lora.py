"""A LoRA folder for stock diffusers, or, where it has no LoRA loader, for PEFT."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from mcm.backbones.animatediff import MOTION_MARK
from mcm.backbones.lora_files import PEFT_CARD, PEFT_FILE, PEFT_PREFIX, A, B
from mcm.backbones.lora_save import save_lora
from mcm.errors import UserError
from mcm.export.scheduler import few_step_scheduler
from mcm.export.student import Exported

OF_PEFT = ("modelscope",)
"""Families whose pipeline has no `load_lora_weights` that works."""
Pairs = Mapping[str, tuple[Tensor, Tensor]]


def write_lora(exported: Exported, folder: Path) -> None:
    """Write the adapter with α/r inside B, the scheduler, head and critic, notes and recipe.

    Raises:
        UserError: Stock diffusers cannot run it.
    """
    for name, content in exported.lora.items():
        crashing = [m for m in content.pairs if MOTION_MARK in m and ".proj_" in m[-9:]]
        if crashing:
            raise UserError(
                f"format: stock diffusers loads LoRA on {crashing[0]} and then crashes; use motion "
                "or pipeline, which have it merged"
            )
        if exported.family in OF_PEFT:
            write_peft(content.pairs, folder)
        else:
            save_lora(exported.backbone, content.pairs, folder, name)
    scheduler = few_step_scheduler(exported.backbone, exported.student.card)
    scheduler.save_pretrained(folder / "scheduler")
    exported.write_notes(folder)
    exported.copy_auxiliary(folder)


def write_peft(pairs: Pairs, folder: Path) -> None:
    """Write an adapter folder that `peft.PeftModel.from_pretrained` loads."""
    names = {f"{PEFT_PREFIX}.{module}": pair for module, pair in pairs.items()}
    weights = {name + A: a for name, (a, _) in names.items()}
    weights |= {name + B: b for name, (_, b) in names.items()}
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / PEFT_FILE)
    rank = next(iter(pairs.values()))[0].shape[0]
    card: dict[str, Any] = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    card["rank_pattern"] = {m: a.shape[0] for m, (a, _) in pairs.items() if a.shape[0] != rank}
    card["alpha_pattern"] = card["rank_pattern"]
    text = json.dumps(card | {"target_modules": sorted(pairs)}, indent=2)
    (folder / PEFT_CARD).write_text(text + "\n", encoding="utf-8")
