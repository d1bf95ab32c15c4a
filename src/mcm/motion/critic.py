"""The clip critic: a judge of whole clips in latent space, by a motion representation of them.

What it is given is a clip of latents, or of a teacher's features of them; both are called latents
here.

The appearance critic sees single frames, and no real motion ever reaches it; consistency only ties
the student to its teacher. This one compares the student's clips with real ones. On `raw` latents
it judges looks and motion together; on differences of frames motion alone, so that the looks of
the videos stay out of it.

References:
    Huang et al., R3GAN, 2024 (arXiv 2501.05441): relativistic pairs, penalty on both sides; Sauer
    et al., LADD, 2024 (arXiv 2403.12015): a critic of latents needs no decoder; Miyato and Koyama,
    2018 (arXiv 1802.05637): projection of the text.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from mcm.appearance.fixed import parameters_fixed
from mcm.appearance.heads import text_match
from mcm.appearance.losses import (
    gradient_penalty,
    relativistic_critic_loss,
    relativistic_generator_loss,
)
from mcm.motion.representations import MotionRepresentation, make_motion


class ClipCritic(nn.Module):
    """Convolutions over space and time, and logits D(h, y) = ψ(h) + ⟨V y, h⟩ / √width.

    Every stage halves height and width; time is halved from the second on.
    """

    def __init__(
        self,
        representation: MotionRepresentation,
        channels: int,
        text_dim: int,
        width: int,
        stages: int = 3,
    ) -> None:
        """Build the critic from torch's global random state.

        Args:
            representation: What of the latents it sees: one whose result is (b, c, t, h, w).
            channels: Latent channels.
            text_dim: Dimension of the pooled text embedding.
            width: Channels of the first stage, doubled by each other one.
            stages: How many there are.
        """
        super().__init__()
        self.motion = make_motion(representation, channels)
        widths = [channels, *(width * 2**stage for stage in range(stages))]
        self.stages = nn.ModuleList(
            nn.Conv3d(a, b, 3, stride=(1 if stage == 0 else 2, 2, 2), padding=1)
            for stage, (a, b) in enumerate(pairwise(widths))
        )
        self.mix = nn.Conv3d(widths[-1], widths[-1], 3, padding=1)
        self.unconditional = nn.Conv3d(widths[-1], 1, 1, bias=False)  # pairs see no offset
        self.text = nn.Linear(text_dim, widths[-1], bias=False)

    def forward(self, latents_bcthw: Tensor, text_bd: Tensor) -> Tensor:
        """Return logits (b, n), one for each place in space and time; higher is more real.

        Args:
            latents_bcthw: Clean latents.
            text_bd: Pooled text embedding of each clip's caption.
        """
        h = self.motion(latents_bcthw)
        for stage in self.stages:
            h = leaky_relu(stage(h), 0.2)
        h = (h + leaky_relu(self.mix(h), 0.2)) / sqrt(2)
        unconditional_bn: Tensor = self.unconditional(h).flatten(1)
        return unconditional_bn + text_match(h.flatten(2), text_bd, self.text)

    def generator_loss(self, real_bcthw: Tensor, fake_bcthw: Tensor, text_bd: Tensor) -> Tensor:
        """Return the student's loss; gradients go to ``fake_bcthw`` only.

        Args:
            real_bcthw: Latents of real clips.
            fake_bcthw: The student's, of the same captions.
            text_bd: Pooled text embeddings of the captions.
        """
        with parameters_fixed(self):
            with torch.no_grad():
                real_bn = self(real_bcthw, text_bd)
            return relativistic_generator_loss(real_bn, self(fake_bcthw, text_bd))

    def critic_loss(
        self, real_bcthw: Tensor, fake_bcthw: Tensor, text_bd: Tensor, penalty_weight: float
    ) -> dict[str, Tensor]:
        """Return the critic's ``loss``, and detached what to log beside it.

        loss = adversarial + (γ/2)·(R1 + R2)

        Args:
            real_bcthw: Latents of real clips.
            fake_bcthw: The student's, of the same captions; detached here.
            text_bd: Pooled text embeddings of the captions.
            penalty_weight: γ.
        """
        real, fake = (x.detach().requires_grad_() for x in (real_bcthw, fake_bcthw))
        real_bn, fake_bn = self(real, text_bd), self(fake, text_bd)
        penalty = gradient_penalty(real_bn.mean(1), [real]) + gradient_penalty(
            fake_bn.mean(1), [fake]
        )
        adversarial = relativistic_critic_loss(real_bn, fake_bn)
        return {
            "loss": adversarial + 0.5 * penalty_weight * penalty,
            "adversarial": adversarial.detach(),
            "penalty": penalty.detach(),
            "real": real_bn.mean().detach(),
            "fake": fake_bn.mean().detach(),
        }
