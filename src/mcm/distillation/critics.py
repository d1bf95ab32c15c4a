"""The critics of a variant: what they are shown of a step, and what they say of it.

The appearance critic judges single decoded frames, the clip critic whole clips in latent space:
the latents, or what the frozen teacher holds in its middle when it is given them with noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

from mcm.backbones.base import Backbone, Condition
from mcm.distillation.batch import CriticClips, CriticFrames, DistillBatch, Frames, Judged
from mcm.distillation.draws import Draws
from mcm.distillation.variant import Variant, make_clip_critic, make_critic
from mcm.settings import ClipCriticSection, CriticSection


class Critics(nn.Module):
    """Both critics, each of which may be missing.

    Attributes:
        frame: The appearance critic.
        clip: The clip critic.
    """

    def __init__(self, backbone: Backbone, variant: Variant, text_dim: int) -> None:
        """Build the critics from torch's global random state.

        Args:
            backbone: Decodes frames and gives features; not a submodule.
            variant: Which critics there are.
            text_dim: Dimension of the pooled text embedding.

        Raises:
            UserError: Settings of a critic do not fit.
        """
        super().__init__()
        self.variant = variant
        self.frame = make_critic(variant.critic, text_dim)
        section = variant.clip_critic
        of_teacher = section.backbone == "teacher"
        channels = backbone.feature_width if of_teacher else backbone.spec.latent_channels
        self.clip = make_clip_critic(section, channels, text_dim)
        self._backbone = (backbone,)

    @property
    def weights(self) -> dict[str, float]:
        """The factors of the student's losses against the critics that there are, by name."""
        return {name: section.weight for name, section in self._sections.items()}

    @property
    def most_pulls(self) -> dict[str, float]:
        """How many of the motion loss's pulls at the latents those with a bound may have."""
        bounds = {name: section.most_pull for name, section in self._sections.items()}
        return {name: most for name, most in bounds.items() if most}

    @property
    def _sections(self) -> dict[str, CriticSection | ClipCriticSection]:
        """Settings of the critics that there are, by the name of the student's loss."""
        sections: dict[str, CriticSection | ClipCriticSection] = {
            "adversarial": self.variant.critic,
            "clip_adversarial": self.variant.clip_critic,
        }
        return {name: section for name, section in sections.items() if section.weight > 0}

    def view(
        self, batch: DistillBatch, x0_bcthw: Tensor, condition: Condition, draws: Draws
    ) -> Judged:
        """Return what the critics see; the student's side has a gradient.

        Args:
            batch: Real clips, and perhaps images.
            x0_bcthw: The student's clean latents.
            condition: Text states of their captions.
            draws: Says which frames are decoded and what noise is on judged clips.
        """
        frames = clips = None
        if self.frame is not None:
            frames = self.frames(batch, x0_bcthw, condition, draws)
        if self.clip is not None:
            clips = self.clips(batch, x0_bcthw, condition, draws)
        return Judged(frames, clips)

    def frames(
        self, batch: DistillBatch, x0_bcthw: Tensor, condition: Condition, draws: Draws
    ) -> CriticFrames:
        """Decode the frames drawn; beside them the batch's images or the videos' own frames."""
        text_nd = condition.pooled_bd.repeat_interleave(draws.frames_bl.shape[1], dim=0)
        fake = self._decode(x0_bcthw, draws.frames_bl)
        if batch.images_n3hw is not None and batch.image_text_nd is not None:
            real, real_text = batch.images_n3hw, batch.image_text_nd
        else:
            with torch.no_grad():
                real, real_text = self._decode(batch.latents_bcthw, draws.frames_bl), text_nd
        if not self.variant.critic.text_conditioned:
            real_text, text_nd = torch.zeros_like(real_text), torch.zeros_like(text_nd)
        return CriticFrames(Frames(real, real_text), Frames(fake, text_nd))

    def clips(
        self, batch: DistillBatch, x0_bcthw: Tensor, condition: Condition, draws: Draws
    ) -> CriticClips:
        """Return both sides as latents, or as the teacher's features of them at one noise."""
        real = batch.latents_bcthw
        if draws.judged_noise_bcthw is not None:
            with torch.no_grad():
                real = self._features(real, condition, draws)
            x0_bcthw = self._features(x0_bcthw, condition, draws)
        return CriticClips(real, x0_bcthw, condition.pooled_bd)

    def student_losses(self, judged: Judged, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the student's losses by name; the critics' parameters get no gradient."""
        said: dict[str, Tensor] = {}
        if self.frame is not None and judged.frames is not None:
            real, fake = judged.frames.real, judged.frames.fake
            paired = self.frame.config.loss == "relativistic"
            rivals = (real.pixels_n3hw, real.text_nd) if paired else (None, None)
            with full_precision(fake.pixels_n3hw):
                said["adversarial"] = self.frame.generator_loss(
                    fake.pixels_n3hw, fake.text_nd, generator, *rivals
                )
        if self.clip is not None and judged.clips is not None:
            clips = judged.clips
            with full_precision(clips.fake_bcthw):
                said["clip_adversarial"] = self.clip.generator_loss(
                    clips.real_bcthw, clips.fake_bcthw, clips.text_bd
                )
        return said

    def own_losses(self, judged: Judged, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the critics' ``loss`` and what to log; ``judged`` must be detached."""
        said: dict[str, Tensor] = {}
        if self.frame is not None and judged.frames is not None:
            real, fake = judged.frames.real, judged.frames.fake
            with full_precision(fake.pixels_n3hw):
                said = self.frame.critic_loss(
                    real.pixels_n3hw, fake.pixels_n3hw, real.text_nd, fake.text_nd, generator
                )
        if self.clip is not None and judged.clips is not None:
            clips, gamma = judged.clips, self.variant.clip_critic.penalty_weight
            with full_precision(clips.fake_bcthw):
                of_clips = self.clip.critic_loss(
                    clips.real_bcthw, clips.fake_bcthw, clips.text_bd, gamma
                )
            loss = of_clips.pop("loss") + said.get("loss", 0)
            said |= {f"clip_{name}": value for name, value in of_clips.items()} | {"loss": loss}
        return said

    def state_by_role(self) -> dict[str, dict[str, Tensor]]:
        """Return what training changes, by role as in checkpoints."""
        return {
            "critic": self.frame.trainable_state_dict() if self.frame else {},
            "clip_critic": self.clip.state_dict() if self.clip else {},
        }

    def _decode(self, latents_bcthw: Tensor, frames_bl: Tensor) -> Tensor:
        backbone = self._backbone[0]
        return backbone.decode_frames(latents_bcthw, frames_bl).float().flatten(0, 1)

    def _features(self, x0_bcthw: Tensor, condition: Condition, draws: Draws) -> Tensor:
        """Return the teacher's features of clean latents, with the noise drawn on them.

        They are brought to one scale, on which the penalty means the same for every teacher.
        """
        assert draws.judged_noise_bcthw is not None
        backbone = self._backbone[0]
        last = backbone.schedule.num_timesteps - 1
        t_b = torch.full((len(x0_bcthw),), round(draws.judged_level * last), device=x0_bcthw.device)
        x_bcthw = backbone.schedule.add_noise(x0_bcthw, draws.judged_noise_bcthw, t_b)
        with backbone.using(None):
            return group_norm(backbone.features(x_bcthw, t_b, condition), 1)


def full_precision(like: Tensor) -> torch.autocast:
    """Leave autocast: small networks, second derivatives and losses run in float32."""
    return torch.autocast(like.device.type, enabled=False)
