"""The objective of distillation: motion consistency, appearance, mixed trajectories.

One class is every published variant by configuration. With the raw latents as representation,
no critic and real latents only it is plain latent consistency distillation (LCM).

References:
    Zhai et al., Motion Consistency Model, 2024 (arXiv 2406.06890); Luo et al., LCM, 2023
    (arXiv 2310.04378).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import SolverGrid, convert, ddim_step, l2, pseudo_huber
from mcm.distillation.balance import held, pull
from mcm.distillation.batch import DistillBatch, Judged, Losses
from mcm.distillation.critics import Critics, full_precision
from mcm.distillation.draws import DrawConfig, Draws, draw
from mcm.distillation.steps import LastStep, jump, select, student_plan, teacher_step
from mcm.distillation.target import copy_values, ema_update
from mcm.distillation.variant import Variant
from mcm.motion import make_motion
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import consistency

STUDENT = "student"
TARGET = "target"


@dataclass(frozen=True)
class Transition:
    """One teacher step: the two ends between which consistency is asked.

    Attributes:
        x_bcthw: Noisy latents at ``start_b``.
        start_b: Timesteps at the grid points drawn.
        x_previous_bcthw: Where the teacher's step led.
        previous_b: Timesteps there.
        condition: Text states, after captions were dropped.
        x0_bcthw: Clean latents that were noised; of generated ones the last step may learn.
        end_b: Grid indices at which the segments of the start end; −1 is clean data.
    """

    x_bcthw: Tensor
    start_b: Tensor
    x_previous_bcthw: Tensor
    previous_b: Tensor
    condition: Condition
    x0_bcthw: Tensor
    end_b: Tensor


class MotionConsistency(nn.Module):
    """Losses of a training step; holds the motion head, its average and the critics.

    The backbone must carry the adapter ``student`` and, with an EMA target, ``target``. Nothing
    here moves a parameter except :meth:`update_target`; the same parameters, batch and
    generator state give the same losses.
    """

    def __init__(self, backbone: Backbone, empty: Condition, variant: Variant) -> None:
        """Build head and critic from torch's global random state.

        Args:
            backbone: Teacher and student; not a submodule.
            empty: Text states of the empty prompt, of length one.
            variant: What to compute.

        Raises:
            UserError: Grid, representation or critic settings do not fit.
        """
        super().__init__()
        self.variant = variant
        self.empty = empty
        self.grid = SolverGrid.evenly(backbone.schedule, variant.consistency.grid_points)
        self.ends_n = self.grid.segment_ends(variant.consistency.segments)
        self.head = make_motion(variant.motion.representation, backbone.spec.latent_channels)
        self.head_target = deepcopy(self.head).requires_grad_(False)
        self.critics = Critics(backbone, variant, empty.pooled_bd.shape[-1])
        self._backbone = (backbone,)
        with torch.no_grad():
            self._copy_student()

    @property
    def backbone(self) -> Backbone:
        """Teacher, student and target."""
        return self._backbone[0]

    @property
    def target_name(self) -> str:
        """The adapter of f_θ⁻: the average, or the student itself without one."""
        return TARGET if self.variant.consistency.ema_decay > 0 else STUDENT

    def step(self, batch: DistillBatch, generator: torch.Generator) -> Losses:
        """Return the student's losses on a batch.

        total = λ_motion · d(M(f_θ(x_t, t)), M⁻(f_θ⁻(x̂_s, s))) + λ_adv · L_adv(decoded frames)
        + λ_clip · L_clip(latents) + λ_image · d(f_θ(x_t, t), f_θ⁻(x_s, s)) on images

        Args:
            batch: Real clips, on the network's device.
            generator: A CPU generator; every random draw is taken from it.
        """
        draws = self.draw(batch, generator)
        transition = self.transition(batch, draws)
        student = self.student(transition.x_bcthw, transition.start_b, transition.condition)
        motion = self.motion_loss(*self.arrivals(transition, student, self.target(transition)))
        total = weighted = self.variant.motion.weight * motion
        parts = {"motion": motion.detach()}
        if (images := self.images(batch, draws)) is not None:
            of_images = self.image_loss(images)
            total = total + self.variant.consistency.image_weight * of_images
            parts["image"] = of_images.detach()
        if not self.critics.weights:
            return Losses(total, parts)
        x0 = student
        if self.variant.trajectories.judge_generated:
            x0 = select(draws.real_b, student, transition.x0_bcthw)
        judged = self.critics.view(batch, x0, transition.condition, draws)
        bounds = self.critics.most_pulls
        ours = pull(weighted, student) if bounds else None
        for name, loss in self.critics.student_losses(judged, generator).items():
            term = self.critics.weights[name] * loss
            if ours is not None and name in bounds:
                term = held(term, x0, bounds[name] * ours)
            total = total + term
            parts[name] = loss.detach()
        return Losses(total, parts, judged.detach())

    def critic_step(self, judged: Judged, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the critics' ``loss`` and what to log, on what :meth:`step` has judged."""
        return self.critics.own_losses(judged, generator)

    def draw(self, batch: DistillBatch, generator: torch.Generator) -> Draws:
        """Draw everything random of a step but the critic's augmentation."""
        shape = batch.latents_bcthw.shape
        consistency, trajectories = self.variant.consistency, self.variant.trajectories
        spec, clips = self.backbone.spec, self.variant.clip_critic
        with_noise = clips.weight > 0 and clips.backbone == "teacher"
        config = DrawConfig(
            grid_points=consistency.grid_points,
            guidance=consistency.guidance_weights or spec.guidance_range,
            clean_guidance=consistency.clean_guidance_weights,
            real_fraction=trajectories.real_fraction,
            drop_caption=self.variant.drop_caption,
            frames=(shape[2] - 1) * spec.temporal_factor + 1,
            judged_frames=self.variant.critic.frames_per_clip,
            time_weights=consistency.time_weights,
            generation_steps=trajectories.self_generation_steps,
            judged_noise=clips.noise if with_noise else None,
        )
        stills = batch.image_latents_bcthw if consistency.image_weight > 0 else None
        image_shape = None if stills is None else stills.shape
        return draw(config, shape, generator, image_shape).to(batch.latents_bcthw.device)

    def transition(self, batch: DistillBatch, draws: Draws) -> Transition:
        """Noise the clean latents and let the teacher take its guided step."""
        condition = self._captions(batch.condition, draws.keep_b)
        x0 = self.clean_latents(batch.latents_bcthw, condition, draws)
        start_b, previous_b = self.grid.pair(draws.index_b)
        x_bcthw = self.grid.add_noise(x0.detach(), draws.noise_bcthw, draws.index_b)
        x_previous = teacher_step(
            self.backbone, x_bcthw, start_b, previous_b, (condition, self.empty), draws.w_b
        )
        end_b = self.ends_n.to(draws.index_b.device)[draws.index_b]
        return Transition(x_bcthw, start_b, x_previous, previous_b, condition, x0, end_b)

    def images(self, batch: DistillBatch, draws: Draws) -> Transition | None:
        """Noise the latents of images to both ends of a solver step; ``None`` without images.

        One noise at both makes the step an unbiased one towards the image, without a teacher
        (Song et al., Consistency Models, 2023, arXiv 2303.01469, section 5).
        """
        x0, condition, index_b = (
            batch.image_latents_bcthw,
            batch.image_condition,
            draws.image_index_b,
        )
        if x0 is None or condition is None or index_b is None or draws.image_noise_bcthw is None:
            return None
        start_b, previous_b = self.grid.pair(index_b)
        x_bcthw = self.grid.add_noise(x0, draws.image_noise_bcthw, index_b)
        x_previous = self.backbone.schedule.add_noise(x0, draws.image_noise_bcthw, previous_b)
        end_b = self.ends_n.to(index_b.device)[index_b]
        return Transition(x_bcthw, start_b, x_previous, previous_b, condition, x0, end_b)

    def image_loss(self, images: Transition) -> Tensor:
        """d(f_θ(x_t, t), sg f_θ⁻(x_s, s)), of whole latents."""
        student = self.student(images.x_bcthw, images.start_b, images.condition)
        return self._distance(*self.arrivals(images, student, self.target(images)))

    def clean_latents(self, real_bcthw: Tensor, condition: Condition, draws: Draws) -> Tensor:
        """Mixed trajectories: per sample the real latent, or the student's own from noise."""
        chosen = (~draws.real_b).nonzero().flatten()
        if len(chosen) == 0:
            return real_bcthw
        seeds, shape = draws.seeds_b[chosen].tolist(), real_bcthw.shape[1:]
        own = self.generate(seeds, shape, condition[chosen], draws.generation_steps)
        return real_bcthw.index_copy(0, chosen, own)

    def generate(
        self, seeds: Sequence[int], shape: Sequence[int], condition: Condition, steps: int
    ) -> Tensor:
        """Sample the student: f_θ(noise, T), or a few steps with noise added between them.

        Where the critic judges the result its last step has a gradient; no other ever has.

        Args:
            seeds: Seeds of the noise, one per sample.
            shape: Latents of one sample, (c, t, h, w).
            condition: Text states.
            steps: Number of steps.
        """
        sizes, device = (shape[0], shape[1], shape[2], shape[3]), condition.tokens_bld.device
        plan = student_plan(self.variant.consistency, sizes, steps, device)
        with self.backbone.using(STUDENT):
            learns = self.variant.trajectories.judge_generated
            denoise = LastStep(Denoiser(self.backbone, condition), steps, learns)
            return consistency(denoise, Noise.from_seeds(seeds), plan)

    def student(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        """f_θ(x_t, t)."""
        with self.backbone.using(STUDENT):
            return self._jump(x_bcthw, t_b, condition)

    @torch.no_grad()
    def target(self, transition: Transition) -> Tensor:
        """f_θ⁻(x̂_s, s), without gradient."""
        with self.backbone.using(self.target_name):
            return self._jump(
                transition.x_previous_bcthw, transition.previous_b, transition.condition
            )

    def arrivals(
        self, transition: Transition, student_bcthw: Tensor, target_bcthw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where both consistency functions lead: to clean data, or to the end of their segment.

        A step of DDIM goes from x_t and x̂0 to the segment's end (Wang et al., PCM, 2024, arXiv
        2405.18407). At the end itself it stays where it is.
        """
        if self.variant.consistency.segments == 1:
            return student_bcthw, target_bcthw
        end_b, here = transition.end_b, transition
        return (
            self._to_end(student_bcthw, here.x_bcthw, here.start_b, end_b),
            self._to_end(target_bcthw, here.x_previous_bcthw, here.previous_b, end_b),
        )

    def _to_end(self, x0: Tensor, x_bcthw: Tensor, t_b: Tensor, end_b: Tensor) -> Tensor:
        schedule, clean_b = self.backbone.schedule, end_b < 0
        level = schedule.alpha_sigma(t_b)
        epsilon = convert(x0, x_bcthw, *level, have="x0", want="epsilon")
        end = schedule.alpha_sigma(self.grid.timesteps_n.to(end_b.device)[end_b.clamp(min=0)])
        return select(clean_b, x0, ddim_step(x0, epsilon, end))

    def motion_loss(self, student_bcthw: Tensor, target_bcthw: Tensor) -> Tensor:
        """d(M(student), sg M⁻(target))."""
        with full_precision(student_bcthw):
            ours = self.head(student_bcthw)
            with torch.no_grad():
                theirs = self.head_target(target_bcthw)
        return self._distance(ours, theirs)

    def _distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.variant.consistency.loss == "l2":
            return l2(ours, theirs)
        return pseudo_huber(ours, theirs, self.variant.consistency.huber_c)

    def update_target(self) -> None:
        """θ⁻ ← d·θ⁻ + (1 − d)·θ for the target adapter and for the motion head."""
        if self.target_name == TARGET:
            target = self.backbone.adapter_parameters(TARGET)
            student = self.backbone.adapter_parameters(STUDENT)
            decay = self.variant.consistency.ema_decay
            ema_update((target[name] for name in student), student.values(), decay)
        if list(self.head.parameters()):
            decay = self.variant.motion.head_ema
            ema_update(self.head_target.parameters(), self.head.parameters(), decay)

    def weights(self) -> dict[str, Tensor]:
        """Return all that training changes, by role and name."""
        roles: dict[str, Mapping[str, Tensor]] = {
            "head": self.head.state_dict(),
            "head_target": self.head_target.state_dict(),
            **self.critics.state_by_role(),
        }
        for adapter in dict.fromkeys((STUDENT, self.target_name)):
            roles[adapter] = self.backbone.adapter_parameters(adapter)
        return {
            f"{role}.{name}": value.detach()
            for role, values in roles.items()
            for name, value in values.items()
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load what :meth:`weights` returned, in place."""
        copy_values(self.weights(), weights)

    def _copy_student(self) -> None:
        if self.target_name == TARGET:
            student = self.backbone.adapter_parameters(STUDENT)
            copy_values(self.backbone.adapter_parameters(TARGET), student)

    def _captions(self, condition: Condition, keep_b: Tensor) -> Condition:
        """Replace the text states of dropped captions by those of the empty prompt."""
        empty = self.empty.expand(len(condition))
        mask = None
        if condition.mask_bl is not None and empty.mask_bl is not None:
            mask = select(keep_b, condition.mask_bl, empty.mask_bl)
        return Condition(
            select(keep_b, condition.tokens_bld, empty.tokens_bld),
            select(keep_b, condition.pooled_bd, empty.pooled_bd),
            mask,
        )

    def _jump(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        scaling = self.variant.consistency.timestep_scaling
        return jump(self.backbone, x_bcthw, t_b, condition, scaling)
