"""The trajectories of a step: clean latents, where they are noised to, where consistency leads.

Clean latents are real or the student's own (mixed trajectories), and those of images; the teacher
takes one guided step on those of clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import SolverGrid, convert, ddim_step
from mcm.distillation.batch import DistillBatch
from mcm.distillation.draws import DrawConfig, Draws, draw
from mcm.distillation.steps import STUDENT, LastStep, select, student_plan, teacher_step
from mcm.distillation.variant import Variant
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.samplers import consistency


@dataclass(frozen=True)
class Transition:
    """One solver step: the two ends between which consistency is asked.

    Attributes:
        x_bcthw: Noisy latents at ``start_b``.
        start_b: Timesteps at the grid points drawn.
        x_previous_bcthw: Where the teacher's step led; of images, the same noise at its level.
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


class Trajectories:
    """Makes the transitions of a variant; trains nothing and holds no weights of its own.

    Attributes:
        backbone: Teacher and student.
        empty: Text states of the empty prompt, of length one.
        variant: What to compute.
        grid: The teacher's solver steps.
        ends_n: Where the segment of each grid point ends.
    """

    def __init__(self, backbone: Backbone, empty: Condition, variant: Variant) -> None:
        """Lay the solver's grid.

        Raises:
            UserError: The grid does not fit the schedule.
        """
        self.backbone, self.empty, self.variant = backbone, empty, variant
        self.grid = SolverGrid.evenly(backbone.schedule, variant.consistency.grid_points)
        self.ends_n = self.grid.segment_ends(variant.consistency.segments)

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
        images = 0 if batch.image_text_nd is None else len(batch.image_text_nd)
        draws = draw(config, shape, generator, image_shape, images)
        return draws.to(batch.latents_bcthw.device)

    def drop_image_captions(self, batch: DistillBatch, draws: Draws) -> DistillBatch:
        """Replace the captions drawn of a batch's images by the empty one."""
        keep_n, text_nd, condition = draws.keep_image_n, batch.image_text_nd, batch.image_condition
        if keep_n is None or text_nd is None:
            return batch
        empty_nd = self.empty.expand(len(text_nd)).pooled_bd
        if condition is not None:
            condition = self._captions(condition, keep_n)
        text_nd = select(keep_n, text_nd, empty_nd)
        return replace(batch, image_text_nd=text_nd, image_condition=condition)

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
        index_b, noise_bcthw = draws.image_index_b, draws.image_noise_bcthw
        if index_b is None or noise_bcthw is None:
            return None
        x0, condition = batch.image_latents_bcthw, batch.image_condition
        assert x0 is not None
        assert condition is not None
        start_b, previous_b = self.grid.pair(index_b)
        x_bcthw = self.grid.add_noise(x0, noise_bcthw, index_b)
        x_previous = self.backbone.schedule.add_noise(x0, noise_bcthw, previous_b)
        end_b = self.ends_n.to(index_b.device)[index_b]
        return Transition(x_bcthw, start_b, x_previous, previous_b, condition, x0, end_b)

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
