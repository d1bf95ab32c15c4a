"""What training asks for: motion, consistency, critics, trajectories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from mcm.fields import (
    Count,
    CountOrZero,
    Decay,
    Fraction,
    Guidance,
    Name,
    NonNegative,
    Positive,
    Representation,
    Section,
    Span,
    StepChoices,
)


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

    grid_points: Annotated[int, Field(ge=2, le=1000)] = 20
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
        if len(self.time_weights or ()) > self.grid_points:
            raise ValueError("time_weights: has more parts than grid_points")
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
    size: Annotated[int, Field(ge=32)] = 224
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
