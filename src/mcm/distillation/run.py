"""From a recipe to a student's folder: the wiring of backbone, caches, objective and loop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mcm.backbones.fingerprint import fingerprint
from mcm.backbones.loading import load_backbone
from mcm.backbones.pipeline import PipelineBackbone
from mcm.data.cache_files import identity
from mcm.devices import pick_device, pick_dtype, return_freed_memory
from mcm.distillation import checkpoints
from mcm.distillation.begin import add_variants, begin_auxiliary, check_family, worn_hash
from mcm.distillation.claim import claimed
from mcm.distillation.feed import Feed
from mcm.distillation.fit import check_caches
from mcm.distillation.objective import MotionConsistency
from mcm.distillation.student import AUXILIARY, write_auxiliary
from mcm.distillation.trainer import Outcome, Trainer
from mcm.distillation.variant import Variant
from mcm.distillation.watchers import Watchers
from mcm.errors import UserError
from mcm.interrupts import EXIT_CODE
from mcm.recipe import FILE_NAME, save
from mcm.sampling.catalog import STUDENT_FOLDER
from mcm.settings import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def distill(recipe: Recipe) -> Path:
    """Distil a student as a recipe says and return its folder.

    Args:
        recipe: The resolved recipe.

    Raises:
        UserError: Something of the recipe does not fit the machine, the data, the teacher, the
            output folder or the checkpoint to resume.
        OSError: The output cannot be written.
        SystemExit: Code 130, when Ctrl-C or SIGTERM ended the run; it was saved.
    """
    output = Path(recipe.trainer.output)
    accelerator = make_accelerator(recipe)
    resumed = _check_output(output, recipe)
    accelerator.wait_for_everyone()
    torch.manual_seed(recipe.trainer.seed)
    backbone, backbone_identity = prepare_backbone(recipe, accelerator.device)
    if resumed is not None:
        checkpoints.check_fits(resumed, recipe, backbone_identity)
    feed = Feed.open(recipe, accelerator.num_processes, accelerator.process_index)
    check_caches(feed, backbone, recipe)
    watchers = Watchers.prepare(recipe, backbone, accelerator.device)
    backbone.free_encoders()
    empty = feed.videos.unconditional().to(accelerator.device)
    objective = MotionConsistency(backbone, empty, Variant.of(recipe)).to(accelerator.device)
    begin_auxiliary(objective, recipe)
    trainer = Trainer(objective, feed, recipe, accelerator, backbone_identity)
    if resumed is not None:
        trainer.restore(resumed)
    with _opened(trainer, recipe):
        callbacks = watchers.callbacks(trainer) if accelerator.is_main_process else []
        return _finish(trainer.run(callbacks), trainer, recipe)


@contextmanager
def _opened(trainer: Trainer, recipe: Recipe) -> Iterator[None]:
    """Hold the run's folder, with the recipe in it and no checkpoint after this run's step."""
    if not trainer.accelerator.is_main_process:
        yield
        return
    output = Path(recipe.trainer.output)
    with claimed(output):
        save(recipe, output)
        checkpoints.remove_partial(trainer.folder)
        for path in checkpoints.set_aside(trainer.folder, trainer.step):
            print(f"set aside, as the run goes on from before it: {path}", file=sys.stderr)
        yield


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Start Accelerate on the recipe's device and number format.

    Raises:
        UserError: The device is not there, or cannot compute in the format.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import AutocastKwargs, GradScalerKwargs

    device, wish = pick_device(recipe.model.device), recipe.trainer.mixed_precision
    if wish == "fp16" and device.type == "cpu":
        raise UserError(
            "trainer.mixed_precision: fp16 needs an accelerator and this run is on the CPU; use "
            "auto, bf16 or no"
        )
    if wish == "auto":
        wish = "bf16" if pick_dtype("auto", device) == torch.bfloat16 else "no"
    AcceleratorState._reset_state()  # an earlier run of this process may have had another format
    handlers = [AutocastKwargs(cache_enabled=False), GradScalerKwargs(init_scale=2.0**10)]
    return Accelerator(cpu=device.type == "cpu", mixed_precision=wish, kwargs_handlers=handlers)


def prepare_backbone(
    recipe: Recipe, device: torch.device
) -> tuple[PipelineBackbone, dict[str, Any]]:
    """Load the teacher, add student and target, and return the teacher's identity as well.

    Raises:
        UserError: The teacher or the student to start from cannot be loaded.
    """
    dtype = recipe.model.dtype
    if dtype == "auto" and pick_dtype(dtype, device) == torch.float16:
        dtype = "float32"
    if recipe.trainer.gradient_checkpointing and device.type == "cpu":
        return_freed_memory()
    backbone = load_backbone(recipe.model.teacher, str(device), dtype, recipe.student.mode)
    check_family(recipe, backbone)
    backbone_identity = identity(backbone) | {
        "network": fingerprint(backbone.network),
        "adapter": worn_hash(recipe),
    }
    add_variants(backbone, recipe)
    return backbone, backbone_identity


def _check_output(output: Path, recipe: Recipe) -> checkpoints.Checkpoint | None:
    """Find the checkpoint to resume, and make sure that no other run is overwritten."""
    if output.exists() and not output.is_dir():
        raise UserError(f"trainer.output: {output} is a file; give a folder")
    taken = (output / FILE_NAME, output / STUDENT_FOLDER, output / checkpoints.FOLDER)
    holds_run = any(path.exists() for path in taken)
    if recipe.trainer.resume is None:
        if holds_run:
            raise UserError(
                f"trainer.output: {output} holds a run already; add trainer.resume=latest to "
                "continue it (once it has a checkpoint), or give another folder"
            )
        return None
    found = checkpoints.find(output, recipe.trainer.resume)
    if holds_run and found.resolve().parent != (output / checkpoints.FOLDER).resolve():
        raise UserError(
            f"trainer.output: {output} holds a run already, and {found} is a checkpoint of "
            "another; give the folder of that run, or a new one"
        )
    return checkpoints.load(found)


def _finish(outcome: Outcome, trainer: Trainer, recipe: Recipe) -> Path:
    """Write the student, unless interrupted, and say where everything is."""
    output = Path(recipe.trainer.output)
    folder = output / STUDENT_FOLDER
    if outcome.interrupted:
        _say(trainer, f"interrupted at step {outcome.step}; saved {outcome.checkpoint}")
        _say(trainer, "continue with --resume latest")
        raise SystemExit(EXIT_CODE)
    if trainer.accelerator.is_main_process:
        trainer.write(folder)
        write_auxiliary(trainer.objective.weights(), output / AUXILIARY)
    trainer.accelerator.wait_for_everyone()
    _say(trainer, f"student: {folder}")
    _say(trainer, f"head and critics: {output / AUXILIARY}; checkpoints: {trainer.folder}")
    return folder


def _say(trainer: Trainer, text: str) -> None:
    if trainer.accelerator.is_main_process:
        print(text, file=sys.stderr)
