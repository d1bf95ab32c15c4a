"""The objective of distillation: motion consistency, appearance, mixed trajectories.

One class is every published variant by configuration. With the raw latents as representation,
no critic and real latents only it is plain latent consistency distillation (LCM).

References:
    Zhai et al., Motion Consistency Model, 2024 (arXiv 2406.06890); Luo et al., LCM, 2023
    (arXiv 2310.04378).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from mcm.backbones.base import Backbone, Condition
from mcm.diffusion import l2, pseudo_huber
from mcm.distillation.balance import held, pull
from mcm.distillation.batch import DistillBatch, Judged, Losses
from mcm.distillation.critics import Critics, full_precision
from mcm.distillation.steps import STUDENT, TARGET, jump, select
from mcm.distillation.target import copy_values, ema_update
from mcm.distillation.trajectories import Trajectories, Transition
from mcm.distillation.variant import Variant
from mcm.motion import make_motion


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
        self.trajectories = Trajectories(backbone, empty, variant)
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
        draws = self.trajectories.draw(batch, generator)
        batch = self.trajectories.drop_image_captions(batch, draws)
        transition = self.trajectories.transition(batch, draws)
        student = self.student(transition.x_bcthw, transition.start_b, transition.condition)
        target = self.target(transition)
        motion = self.motion_loss(*self.trajectories.arrivals(transition, student, target))
        total = weighted = self.variant.motion.weight * motion
        parts = {"motion": motion.detach()}
        if (images := self.trajectories.images(batch, draws)) is not None:
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

    def image_loss(self, images: Transition) -> Tensor:
        """d(f_θ(x_t, t), sg f_θ⁻(x_s, s)), of whole latents."""
        student = self.student(images.x_bcthw, images.start_b, images.condition)
        target = self.target(images)
        return self._distance(*self.trajectories.arrivals(images, student, target))

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

    def _jump(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition) -> Tensor:
        scaling = self.variant.consistency.timestep_scaling
        return jump(self.backbone, x_bcthw, t_b, condition, scaling)
