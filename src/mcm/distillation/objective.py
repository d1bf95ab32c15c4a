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
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import SolverGrid, convert, ddim_step, l2, pseudo_huber
from mcm.distillation.batch import CriticClips, CriticFrames, DistillBatch, Frames, Judged, Losses
from mcm.distillation.draws import DrawConfig, Draws, draw
from mcm.distillation.steps import LastStep, jump, select, student_plan, teacher_step
from mcm.distillation.target import copy_values, ema_update
from mcm.distillation.variant import Variant, make_clip_critic, make_critic
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
        channels, text_dim = backbone.spec.latent_channels, empty.pooled_bd.shape[-1]
        self.critic = make_critic(variant.critic, text_dim)
        self.clip_critic = make_clip_critic(variant.clip_critic, channels, text_dim)
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
        + λ_clip · L_clip(latents)

        Args:
            batch: Real clips, on the network's device.
            generator: A CPU generator; every random draw is taken from it.
        """
        draws = self.draw(batch, generator)
        transition = self.transition(batch, draws)
        student = self.student(transition.x_bcthw, transition.start_b, transition.condition)
        motion = self.motion_loss(*self.arrivals(transition, student, self.target(transition)))
        total, parts = self.variant.motion.weight * motion, {"motion": motion.detach()}
        if self.critic is None and self.clip_critic is None:
            return Losses(total, parts)
        x0, frames, clips = student, None, None
        if self.variant.trajectories.judge_generated:
            x0 = select(draws.real_b, student, transition.x0_bcthw)
        if self.critic is not None:
            seen = self.frames(batch, x0, transition.condition, draws)
            adversarial = self.adversarial_loss(seen, generator)
            total = total + self.variant.critic.weight * adversarial
            parts["adversarial"] = adversarial.detach()
            detached = Frames(seen.fake.pixels_n3hw.detach(), seen.fake.text_nd)
            frames = CriticFrames(seen.real, detached)
        if self.clip_critic is not None:
            clips = CriticClips(batch.latents_bcthw, x0, transition.condition.pooled_bd)
            adversarial = self.clip_loss(clips)
            total = total + self.variant.clip_critic.weight * adversarial
            parts["clip_adversarial"] = adversarial.detach()
            clips = replace(clips, fake_bcthw=x0.detach())
        return Losses(total, parts, Judged(frames, clips))

    def critic_step(self, judged: Judged, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the critics' ``loss`` and what to log, on what :meth:`step` has judged."""
        said: dict[str, Tensor] = {}
        if self.critic is not None and judged.frames is not None:
            real, fake = judged.frames.real, judged.frames.fake
            with _full_precision(fake.pixels_n3hw):
                said = self.critic.critic_loss(
                    real.pixels_n3hw, fake.pixels_n3hw, real.text_nd, fake.text_nd, generator
                )
        if self.clip_critic is not None and judged.clips is not None:
            clips, gamma = judged.clips, self.variant.clip_critic.penalty_weight
            with _full_precision(clips.fake_bcthw):
                of_clips = self.clip_critic.critic_loss(
                    clips.real_bcthw, clips.fake_bcthw, clips.text_bd, gamma
                )
            loss = of_clips.pop("loss") + said.get("loss", 0)
            said |= {f"clip_{name}": value for name, value in of_clips.items()} | {"loss": loss}
        return said

    def draw(self, batch: DistillBatch, generator: torch.Generator) -> Draws:
        """Draw everything random of a step but the critic's augmentation."""
        shape = batch.latents_bcthw.shape
        consistency, trajectories = self.variant.consistency, self.variant.trajectories
        spec = self.backbone.spec
        config = DrawConfig(
            grid_points=consistency.grid_points,
            guidance=consistency.guidance_weights or spec.guidance_range,
            real_fraction=trajectories.real_fraction,
            drop_caption=self.variant.drop_caption,
            frames=(shape[2] - 1) * spec.temporal_factor + 1,
            judged_frames=self.variant.critic.frames_per_clip,
            time_weights=consistency.time_weights,
            generation_steps=trajectories.self_generation_steps,
        )
        return draw(config, shape, generator).to(batch.latents_bcthw.device)

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
        with _full_precision(student_bcthw):
            ours = self.head(student_bcthw)
            with torch.no_grad():
                theirs = self.head_target(target_bcthw)
        if self.variant.consistency.loss == "l2":
            return l2(ours, theirs)
        return pseudo_huber(ours, theirs, self.variant.consistency.huber_c)

    def frames(
        self, batch: DistillBatch, student_bcthw: Tensor, condition: Condition, draws: Draws
    ) -> CriticFrames:
        """Decode the frames drawn; beside them the batch's images or the videos' own frames."""
        text_nd = condition.pooled_bd.repeat_interleave(draws.frames_bl.shape[1], dim=0)
        fake = self._decode(student_bcthw, draws.frames_bl)
        if batch.images_n3hw is not None and batch.image_text_nd is not None:
            real, real_text = batch.images_n3hw, batch.image_text_nd
        else:
            with torch.no_grad():
                real, real_text = self._decode(batch.latents_bcthw, draws.frames_bl), text_nd
        if not self.variant.critic.text_conditioned:
            real_text, text_nd = torch.zeros_like(real_text), torch.zeros_like(text_nd)
        return CriticFrames(Frames(real, real_text), Frames(fake, text_nd))

    def adversarial_loss(self, frames: CriticFrames, generator: torch.Generator) -> Tensor:
        """The student's loss against the critic, whose parameters get no gradient."""
        assert self.critic is not None
        real, fake = frames.real, frames.fake
        paired = self.critic.config.loss == "relativistic"
        with _full_precision(fake.pixels_n3hw):
            return self.critic.generator_loss(
                fake.pixels_n3hw,
                fake.text_nd,
                generator,
                real.pixels_n3hw if paired else None,
                real.text_nd if paired else None,
            )

    def clip_loss(self, clips: CriticClips) -> Tensor:
        """The student's loss against the clip critic, whose parameters get no gradient."""
        assert self.clip_critic is not None
        with _full_precision(clips.fake_bcthw):
            return self.clip_critic.generator_loss(
                clips.real_bcthw, clips.fake_bcthw, clips.text_bd
            )

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
            "critic": self.critic.trainable_state_dict() if self.critic else {},
            "clip_critic": self.clip_critic.state_dict() if self.clip_critic else {},
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

    def _decode(self, latents_bcthw: Tensor, frames_bl: Tensor) -> Tensor:
        return self.backbone.decode_frames(latents_bcthw, frames_bl).float().flatten(0, 1)


def _full_precision(like: Tensor) -> torch.autocast:
    """Leave autocast: small networks, second derivatives and losses run in float32."""
    return torch.autocast(like.device.type, enabled=False)
