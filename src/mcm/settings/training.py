"""How it is trained: optimiser, loop, validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from mcm.fields import (
    Count,
    CountOrZero,
    Decay,
    Name,
    NonNegative,
    Positive,
    Precision,
    Section,
    Seed,
    Steps,
)


class OptimizerSection(Section):
    """AdamW on the student."""

    lr: Positive = 5e-6
    """Learning rate of the student."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    betas: Annotated[tuple[Decay, Decay], Strict(False)] = (0.9, 0.999)
    """Decay rates of the first and second moment."""
    grad_clip: Positive | None = 10.0
    """Greatest L2 norm of the gradient; null does not clip."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up."""
    warmup_steps: CountOrZero = 0
    """Steps of linear growth from 0 to `lr`."""


class ValidationSection(Section):
    """Clips made while training, beside the teacher's on the same seeds."""

    prompts: Annotated[tuple[Name, ...], Strict(False)] = ()
    """Prompts; none turns validation clips off."""
    seeds: Annotated[tuple[Seed, ...], Strict(False)] = (0,)
    """Seeds, each used for every prompt."""
    steps: Annotated[tuple[Steps, ...], Strict(False)] = (1, 2, 4, 8)
    """Student step counts."""
    teacher_steps: Steps = 50
    """Guided steps of the teacher's clips."""


class TrainerSection(Section):
    """The loop: length, batches, checkpoints, logs."""

    output: Name
    """Folder for checkpoints, logs, the student and the resolved recipe."""
    steps: Count
    """Optimiser steps."""
    batch_size: Count = 1
    """Clips per process and forward pass."""
    gradient_accumulation: Count = 1
    """Forward passes per optimiser step."""
    gradient_checkpointing: bool = False
    """Recompute the network and the decoder in the backward pass: less memory, about a third more
    time."""
    mixed_precision: Precision = "auto"
    """Autocast; `auto` is bf16 where the hardware has it."""
    seed: Seed = 0
    """Seed of every random draw."""
    checkpoint_every: Count | None = 500
    """Steps between checkpoints; null: by time only."""
    checkpoint_minutes: Positive | None = None
    """Minutes between checkpoints; null: by steps only."""
    keep_last: Count = 2
    """Checkpoints to keep."""
    validate_every: Count | None = 500
    """Steps between validations; null: never."""
    validation: ValidationSection = ValidationSection()
    """What a validation generates."""
    probe_every: Count | None = 50
    """Steps between measurements of the student's x0 error on held-out clips; null: never."""
    probe_clips: Count = 8
    """Clips held out for it, at most a tenth of all."""
    proxy_every: Count | None = None
    """Steps between small evaluations on the embedded world; the best student is kept."""
    proxy_clips: Annotated[int, Field(ge=2)] = 48
    """Clips of such an evaluation, made in 4 steps; frames are compared with `data.images`."""
    proxy_judges: Name | None = None
    """Folder of `mcm judges` with the networks for it; null: the package's."""
    log_every: Count = 10
    """Steps between log lines."""
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where scalars and clips are logged."""
    resume: Name | None = None
    """`latest`, the path of a checkpoint, or null for a fresh run."""
    max_minutes: Positive | None = None
    """Minutes after which the run saves and ends; null: no limit."""
