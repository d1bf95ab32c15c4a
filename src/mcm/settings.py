"""The sections of a recipe, one frozen model each; `mcm.recipe` reads and writes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from mcm.fields import (
    Count,
    CountOrZero,
    Decay,
    Device,
    Fraction,
    Guidance,
    Name,
    NonNegative,
    Positive,
    Precision,
    Representation,
    Section,
    Size,
    Span,
    StepChoices,
    Steps,
)


class ModelSection(Section):
    """The teacher, and where and in which number format it runs."""

    teacher: Name
    """Name of an embedded teacher (`fluent`), a folder in the layout of diffusers, or
    `OWNER/NAME` or `OWNER/NAME@REVISION` of a hub; a folder of that name wins."""
    adapter: Name | None = None
    """LoRA that the teacher wears, such as the looks of `mcm teacher adapt --rank`: a folder or a
    file; null: none."""
    family: Literal["auto", "animatediff", "modelscope", "wan", "ltx", "cogvideox"] = "auto"
    """Backbone family, which is read from the teacher's folder; any but `auto` is checked."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the frozen weights; `auto` takes the device's best."""
    device: Device = "auto"
    """`auto` (CUDA, then MPS, then XPU, then CPU), `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`."""


class StudentSection(Section):
    """What of the network is trained."""

    mode: Literal["lora", "full"] = "lora"
    """`lora` trains an adapter on the teacher's weights; `full` trains a copy of them."""
    rank: Count = 64
    """Rank r of the adapter."""
    alpha: Positive = 64.0
    """Adapter scale: the adapter's output is multiplied by alpha / rank."""
    init: Name | Annotated[tuple[Name, ...], Strict(False), Field(min_length=1)] | None = None
    """A student to continue from (name, folder or of a hub); null starts at the teacher.

    A list starts at the sum of its adapters, such as a fast student and the looks that the
    teacher wears; their ranks together are at most `rank`.
    """
    interpolate: Fraction = 1.0
    """How far from its start to where training led the written student is: 1 is all the way.

    Between both a student is often better than either (WiSE-FT, Wortsman et al., 2022, arXiv
    2109.01903), as what a critic overdoes is halved. Clips made while training are of this one.
    """
    init_auxiliary: bool = False
    """Whether the motion head and the critic beside `init` go on as well."""


class DataSection(Section):
    """Cached latents to train on. Paths are relative to the working folder."""

    videos: Name
    """Folder made by `mcm data cache`: video latents with their text states."""
    images: Name | None = None
    """Folder of clean images for the critic's real side; null: the videos' own frames."""
    image_batch_size: Count | None = None
    """Real images per critic step; null: as many as generated frames."""
    frames: Count | None = None
    """Frames of a clip; null: the teacher's own number."""
    fps: Positive | None = None
    """Frames per second of a clip; null: the teacher's own rate."""
    size: Size | None = None
    """Height and width in pixels; null: the teacher's own size."""
    workers: CountOrZero = 0
    """Processes that read ahead; 0 reads in the training process."""
    drop_caption: Fraction = 0.0
    """Probability of replacing a caption by the empty one."""


class MotionSection(Section):
    """Where the consistency loss compares motion."""

    representation: Representation = "learn"
    """M of the motion consistency loss; `raw` is plain latent consistency distillation."""
    weight: NonNegative = 1.0
    """Factor of the motion consistency loss."""
    head_ema: Decay = 0.95
    """EMA decay of the target's copy of the learnable head (`learn` only)."""
    head_lr: Positive | None = None
    """Learning rate of the learnable head; null: `optimizer.lr`."""


class ConsistencySection(Section):
    """The consistency function and the teacher's solver."""

    grid_points: Annotated[int, Field(ge=1, le=1000)] = 20
    """Solver steps that divide the teacher's trajectory."""
    loss: Literal["huber", "l2"] = "huber"
    """Distance d of the motion consistency loss."""
    huber_c: Positive = 1e-3
    """δ of the pseudo-Huber distance √((a−b)² + δ²) − δ."""
    timestep_scaling: Positive = 4.0
    """k of c_skip and c_out: s = k·t."""
    guidance: Guidance | None = None
    """Least and greatest guidance scale to draw (1 is no guidance); null: the teacher's range.

    This is the scale of diffusers, w + 1 for the paper's w; see `guidance_weights`.
    """
    clean_guidance: Guidance | None = None
    """The same at the clean end of the grid, from where it goes in a straight line to `guidance`
    at the noisy end; null: `guidance` everywhere."""
    ema_decay: Decay = 0.95
    """EMA decay of the target network; 0 uses the student itself."""
    image_weight: NonNegative = 0.0
    """Factor of consistency training on `data.images`, whole latents and no teacher; 0: none.

    The student learns looks from them directly. Their cache needs `--latents`.
    """
    segments: Count = 1
    """Parts of the trajectory, each with consistency of its own; 1 is the whole of it.

    With n parts the student is for n steps, without fresh noise between them (PCM).
    """
    time_weights: Annotated[tuple[NonNegative, ...], Strict(False)] | None = None
    """Relative probability of equal parts of the grid, from least to most noise; null: uniform.

    `[1, 1, 1, 2]` draws the noisiest quarter of the grid twice as often as each other.
    """

    @property
    def stochasticity(self) -> float:
        """γ of the student's sampler: segments are joined without fresh noise."""
        return 1.0 if self.segments == 1 else 0.0

    @property
    def guidance_weights(self) -> tuple[float, float] | None:
        """Range of the paper's w in x̂0 = x̂0_c + w(x̂0_c − x̂0_u)."""
        return _weights(self.guidance)

    @property
    def clean_guidance_weights(self) -> tuple[float, float] | None:
        """That at the clean end of the grid."""
        return _weights(self.clean_guidance)

    @model_validator(mode="after")
    def _check(self) -> ConsistencySection:
        if self.segments > self.grid_points:
            raise ValueError("segments: is more than grid_points")
        if self.time_weights is not None and not sum(self.time_weights) > 0:
            raise ValueError("time_weights: has no positive number")
        return self


def _weights(scales: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the paper's w of scales of diffusers."""
    return None if scales is None else (scales[0] - 1, scales[1] - 1)


class CriticSection(Section):
    """The appearance critic."""

    weight: NonNegative = 0.0
    """λ_adv, factor of the adversarial loss; 0 trains without a critic."""
    most_pull: Positive | None = None
    """Largest gradient of the loss at the clean latents, in multiples of the motion loss's there;
    null: no bound."""
    backbone: Literal["efficientnet", "dinov2", "scratch"] = "efficientnet"
    """Feature network of the critic; the first two are pretrained and frozen."""
    levels: Annotated[tuple[CountOrZero, ...], Strict(False)] | None = None
    """Feature levels to judge; null: the backbone's default."""
    weights: Name | None = None
    """File, folder or hub name of the backbone's weights; null: its default."""
    size: Count = 224
    """Largest side of a judged frame in pixels; smaller frames keep their size."""
    width: Count = 64
    """Channels inside every head."""
    layout: Literal["map", "tokens"] = "map"
    """`map`: 2-D convolutions on the feature grid; `tokens`: the paper's 1-D ones."""
    text_conditioned: bool = True
    """Whether the heads also judge the match of frame and caption."""
    loss: Literal["hinge", "relativistic"] = "hinge"
    """Adversarial loss."""
    penalty: Literal["none", "features", "pixels"] = "features"
    """What the gradient penalty differentiates by."""
    penalty_weight: NonNegative = 1.0
    """γ of the penalty (γ/2)·E‖∇D‖²."""
    penalty_side: Literal["real", "both"] = "real"
    """`real` is R1; `both` adds R2 on generated frames."""
    lr: Positive = 5e-5
    """Learning rate of the critic."""
    betas: Annotated[tuple[Decay, Decay], Strict(False)] = (0.9, 0.999)
    """Decay rates of the critic's first and second moment."""
    frames_per_clip: Count = 2
    """Frames of each generated clip that are decoded and judged."""
    augment: Annotated[tuple[Literal["color", "translation", "cutout"], ...], Strict(False)] = (
        "color",
        "translation",
        "cutout",
    )
    """Differentiable augmentations of real and generated frames."""


class ClipCriticSection(Section):
    """The critic of whole clips, in latent space, against the real videos."""

    weight: NonNegative = 0.0
    """Factor of its loss for the student; 0 trains without it."""
    most_pull: Positive | None = None
    """As `critic.most_pull`."""
    backbone: Literal["scratch", "teacher"] = "scratch"
    """What it sees: `scratch` the latents themselves, `teacher` what the frozen teacher holds in
    its middle when it is given the latents with noise on them."""
    noise: Span = (0.0, 0.7)
    """Least and greatest part of the time axis at which the teacher is given them; one is drawn
    for each batch."""
    representation: Literal["raw", "diff", "freql", "freqh"] = "raw"
    """What of that it judges: `raw` is all of it, `diff` what changes between frames."""
    width: Count = 64
    """Channels of its first stage."""
    penalty_weight: NonNegative = 1.0
    """γ of the penalty (γ/2)·(E‖∇D(x)‖² + E‖∇D(x̂)‖²)."""
    lr: Positive = 5e-4
    """Learning rate of the critic."""
    betas: Annotated[tuple[Decay, Decay], Strict(False)] = (0.0, 0.99)
    """Decay rates of its first and second moment."""


class TrajectoriesSection(Section):
    """Where clean latents come from."""

    real_fraction: Fraction = 0.5
    """λ_real, the probability, per sample, of a real video instead of a generated one."""
    self_generation_steps: StepChoices = (1,)
    """Student steps that make a generated latent; of a list, one is drawn for each batch."""
    judge_generated: bool = False
    """The critic judges generated latents themselves instead of the student's jump from them, and
    their last step learns (as in DMD2 and Self-Forcing)."""


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
    seeds: Annotated[tuple[CountOrZero, ...], Strict(False)] = (0,)
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
    seed: CountOrZero = 0
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


class Recipe(Section):
    """One distillation, fully described."""

    model: ModelSection
    """The teacher."""
    student: StudentSection = StudentSection()
    """What is trained."""
    data: DataSection
    """What it is trained on."""
    motion: MotionSection = MotionSection()
    """Motion representation and head."""
    consistency: ConsistencySection = ConsistencySection()
    """Consistency function and solver."""
    critic: CriticSection = CriticSection()
    """Appearance critic."""
    clip_critic: ClipCriticSection = ClipCriticSection()
    """Critic of whole clips."""
    trajectories: TrajectoriesSection = TrajectoriesSection()
    """Real and generated latents."""
    optimizer: OptimizerSection = OptimizerSection()
    """Optimiser of the student."""
    trainer: TrainerSection
    """The loop."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.optimizer.warmup_steps > self.trainer.steps:
            raise ValueError("optimizer.warmup_steps: is more than trainer.steps")
        if self.consistency.image_weight > 0 and self.data.images is None:
            raise ValueError(
                "consistency.image_weight: needs images; give their cache as data.images"
            )
        return self
