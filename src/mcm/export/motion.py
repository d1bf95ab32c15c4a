"""AnimateDiff in two parts: motion modules of their own, and LoRA for the image layers.

The motion modules go on any Stable Diffusion 1.5 fine-tune; their part of the adapter is merged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcm.backbones.lora_files import LORA_FILE
from mcm.backbones.lora_save import save_lora
from mcm.errors import UserError
from mcm.export.scheduler import few_step_scheduler
from mcm.export.student import Exported

MOTION_FOLDER = "motion_adapter"


def write_motion(exported: Exported, folder: Path) -> None:
    """Write ``motion_adapter``, the LoRA of the image layers, and the scheduler.

    Raises:
        UserError: The teacher has no motion modules.
    """
    if exported.family != "animatediff":
        raise UserError(
            f"format: motion is for AnimateDiff, and {exported.files.name} is of family "
            f"{exported.family}; use lora or pipeline"
        )
    network: Any = exported.merged.variants.base
    network.save_motion_modules(folder / MOTION_FOLDER)
    if exported.image_pairs:
        save_lora(exported.backbone, exported.image_pairs, folder, LORA_FILE)
    scheduler = few_step_scheduler(exported.backbone, exported.student.card)
    scheduler.save_pretrained(folder / "scheduler")
    exported.copy_auxiliary(folder)
