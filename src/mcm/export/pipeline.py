"""A whole pipeline folder with the adapter merged into the network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcm.backbones.json_files import NOTES_FILE
from mcm.backbones.native import SAMPLING, TRAINED
from mcm.export.scheduler import few_step_scheduler
from mcm.export.student import Exported


def write_pipeline(exported: Exported, folder: Path) -> None:
    """Write what ``from_pretrained`` of the family's pipeline loads, sampler included.

    Its ``mcm.json`` says what the model is made for and how mcm samples it.
    """
    pipeline = exported.merged.to_pipeline()
    pipeline.scheduler = few_step_scheduler(exported.backbone, exported.student.card)
    pipeline.save_pretrained(folder)
    text = json.dumps(_notes(exported), indent=2, ensure_ascii=False)
    (folder / NOTES_FILE).write_text(text + "\n", encoding="utf-8")
    exported.copy_auxiliary(folder)


def _notes(exported: Exported) -> dict[str, Any]:
    spec = exported.backbone.spec
    names = ("frames", "height", "width", "fps", "guidance", "guidance_range")
    native = {name: getattr(spec, name) for name in names}
    if spec.low_noise is not None:
        native["low_noise_guidance"] = spec.low_noise[1]
    sampling = asdict(exported.student.card) | {"base": exported.base.title, "mode": "merged"}
    del sampling["motion_adapter"]  # inside
    sampling[TRAINED] = exported.backbone.scheduler_config
    return native | {SAMPLING: sampling}
