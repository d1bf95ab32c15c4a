"""A whole pipeline folder with the adapter merged into the network."""

from __future__ import annotations

from pathlib import Path

from mcm.export.scheduler import few_step_scheduler
from mcm.export.student import Exported


def write_pipeline(exported: Exported, folder: Path) -> None:
    """Write what ``from_pretrained`` of the family's pipeline loads, sampler included."""
    pipeline = exported.merged().to_pipeline()
    pipeline.scheduler = few_step_scheduler(exported.backbone, exported.student.card)
    pipeline.save_pretrained(folder)
    exported.copy_auxiliary(folder)
