"""The work of `mcm export`: write one format whole, or nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from mcm.backbones.components import share_weights
from mcm.errors import UserError, nearest
from mcm.export.card import SAMPLES, CardOptions, card
from mcm.export.comfyui import write_comfyui
from mcm.export.lora import write_lora
from mcm.export.motion import write_motion
from mcm.export.notices import check_public, notices
from mcm.export.pipeline import write_pipeline
from mcm.export.student import Exported
from mcm.media.places import check_name, replacing

FORMATS: dict[str, Callable[[Exported, Path], None]] = {
    "lora": write_lora,
    "pipeline": write_pipeline,
    "motion": write_motion,
    "comfyui": write_comfyui,
}


def export_student(
    model: str,
    output: Path,
    format: str = "lora",
    options: CardOptions | None = None,
    push: str | None = None,
    base: str | None = None,
) -> Path:
    """Write a student in the layout of another tool, with a model card.

    Args:
        model: Embedded or published name, or folder of a LoRA student.
        output: Folder to write; must not be there.
        format: ``lora``, ``pipeline``, ``motion`` or ``comfyui``.
        options: What the card says beside the facts.
        push: Repository of a model hub to upload it to, ``owner/name``.
        base: Where others find the teacher: ``owner/name`` or ``owner/name@revision`` of a hub.

    What the export lacks is said on standard error, and in the card.

    Raises:
        UserError: The student, the format or the output cannot be, or it is for a hub and others
            could not find its teacher.
    """
    if format not in FORMATS:
        guess = nearest(format, FORMATS)
        hint = f"; did you mean {guess}?" if guess else ""
        raise UserError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}{hint}")
    check_name(output)
    if output.exists() or output.is_symlink():
        raise UserError(f"{output}: exists already; choose another folder")
    options = options or CardOptions()
    options.check()
    exported = Exported.find(model, whole=format == "pipeline", said_base=base)
    if push:
        check_public(exported, format)
    lacks = notices(exported, format)
    with replacing(output) as part:
        part.mkdir(parents=True)
        FORMATS[format](exported, part)
        text = card(exported, push or str(output), format, options, lacks)
        (part / "README.md").write_text(text, encoding="utf-8")
        for path in options.samples:
            (part / SAMPLES).mkdir(exist_ok=True)
            shutil.copy(path, part / SAMPLES / path.name)
        share_weights(part / "README.md")
    for text in lacks:
        print(f"mcm: warning: {text}", file=sys.stderr)
    if push:
        upload(output, push)
    return output


def upload(folder: Path, repository: str) -> None:
    """Upload a folder to a model repository, which is made when missing.

    Raises:
        UserError: The hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository)
    except Exception as error:  # whatever the network, the hub or its rights may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"push: {repository}: {reason:.200}; the export is complete in {folder}, upload it "
            "with `hf upload` when the hub can be reached"
        ) from None
