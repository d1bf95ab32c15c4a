"""What an export lacks, said on standard error and in its card."""

from __future__ import annotations

from mcm.backbones.animatediff import MOTION_MARK
from mcm.diffusion import FlowSchedule
from mcm.errors import UserError
from mcm.export.comfyui import left_out
from mcm.export.student import Exported

_AUXILIARY = {"head": "motion head", "critic": "critic"}


def check_public(exported: Exported, format: str) -> None:
    """Make sure that others can find what an export for a hub stands on.

    Raises:
        UserError: It stands on a folder of this machine.
    """
    if format not in ("lora", "motion"):
        return
    if not exported.base.is_public:
        raise UserError(
            f"push: others cannot find the teacher in {exported.base.name}; say where they do with "
            "--base OWNER/NAME[@REVISION], or use --format pipeline"
        )
    if format == "lora" and exported.motion is not None and not exported.motion.is_public:
        raise UserError(
            f"push: others cannot find the motion modules in {exported.motion.name}; use --format "
            "motion or pipeline, which have them inside"
        )


def notices(exported: Exported, format: str) -> list[str]:
    """Return what an export lacks, a sentence each.

    Args:
        exported: What is exported.
        format: Of the export.
    """
    if format == "comfyui":
        return _layers(exported)
    local = format in ("lora", "motion") and not exported.base.is_public
    base = [
        f"base: the teacher `{exported.base.title}` is known by a folder of the exporting machine "
        "alone; --base OWNER/NAME[@REVISION] says where others find it"
    ]
    return _auxiliary(exported) + _sampling(exported) + (base if local else [])


def _auxiliary(exported: Exported) -> list[str]:
    found = {path.stem for path in exported.auxiliary}
    missing = [name for role, name in _AUXILIARY.items() if role not in found]
    if not missing:
        return []
    return [
        f"auxiliary: no {' and no '.join(missing)}, as there is none beside the student; a "
        "training that goes on from it starts them afresh"
    ]


def _sampling(exported: Exported) -> list[str]:
    """Say where the stock scheduler cannot sample as we do."""
    card = exported.student.card
    if isinstance(exported.backbone.schedule, FlowSchedule):
        if card.original_steps % card.steps == 0:
            return []
        return [
            f"timesteps: {card.steps} of the {card.original_steps} that the student was trained on "
            "are not evenly spaced, and the stock scheduler's are, so that its clips differ from "
            f"those of mcm; take a number of steps that divides {card.original_steps}"
        ]
    if card.stochasticity == 1:
        return []
    return [
        f"stochasticity: the student is made for {card.stochasticity:g}, and LCMScheduler knows "
        "none but 1 (all noise between steps is fresh), so that its clips differ from those of mcm"
    ]


def _layers(exported: Exported) -> list[str]:
    if exported.family != "animatediff":
        return []
    pairs = next(iter(exported.lora.values())).pairs
    lost, motion = left_out(pairs), [name for name in pairs if MOTION_MARK in name]
    if not lost:
        return []
    return [
        f"motion LoRA: {len(lost)} of the {len(motion)} layers that the student changes in the "
        f"motion modules, such as {lost[0]}: that layout has attention only; the formats motion "
        "and pipeline have them all"
    ]
