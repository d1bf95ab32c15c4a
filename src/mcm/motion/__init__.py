"""Motion representations: what of a latent video is motion rather than appearance."""

from mcm.motion.critic import ClipCritic
from mcm.motion.head import MotionHead
from mcm.motion.representations import FixedMotion, MotionRepresentation, make_motion

__all__ = ["ClipCritic", "FixedMotion", "MotionHead", "MotionRepresentation", "make_motion"]
