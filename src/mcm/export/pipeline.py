"""A whole pipeline folder with the adapter merged into the network."""

from __future__ import annotations

from pathlib import Path

from mcm.export.student import Exported


def write_pipeline(exported: Exported, folder: Path) -> None:
    """Write what ``AnimateDiffPipeline.from_pretrained`` loads, sampler included."""
    from diffusers import LCMScheduler

    pipeline = exported.merged().to_pipeline()
    pipeline.scheduler = LCMScheduler.from_config(exported.scheduler())
    pipeline.save_pretrained(folder)
