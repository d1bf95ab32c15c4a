"""A LoRA folder that stock diffusers reads with ``load_lora_weights``."""

from __future__ import annotations

import shutil
from pathlib import Path

from mcm.backbones.adapters import LORA_FILE, NOTES_FILE
from mcm.export.student import Exported, write_scheduler
from mcm.recipe import FILE_NAME


def write_lora(exported: Exported, folder: Path) -> None:
    """Write the adapter with α/r inside B, the scheduler, head and critic, notes and recipe."""
    exported.lora()
    shutil.copy(exported.lora_path, folder / LORA_FILE)
    write_scheduler(exported, folder)
    for name in (NOTES_FILE, FILE_NAME):
        if (exported.student.folder / name).is_file():
            shutil.copy(exported.student.folder / name, folder / name)
    for path in exported.auxiliary:
        (folder / "auxiliary").mkdir(exist_ok=True)
        shutil.copy(path, folder / "auxiliary" / path.name)
