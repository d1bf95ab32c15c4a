"""Whether a recipe fits the clips, the images and the teacher that it names."""

from __future__ import annotations

from mcm.backbones.pipeline import PipelineBackbone
from mcm.data.cached import CachedVideos
from mcm.distillation.feed import Feed, judged_frames
from mcm.errors import UserError
from mcm.settings import Recipe

_BETWEEN_FRAMES = ("diff", "lcor", "gcor", "sgcor")


def check_caches(feed: Feed, backbone: PipelineBackbone, recipe: Recipe) -> None:
    """Refuse caches of another teacher, or of other clips than a recipe asks for.

    Raises:
        UserError: Names the cache or the field, what was found and what was expected.
    """
    feed.videos.check_backbone(backbone)
    if feed.images is not None:
        feed.images.check_backbone(backbone)
    _check_asked(feed.videos, recipe)
    clips = feed.videos.batch([0])
    channels, frames = clips.latents_bcthw.shape[1:3]
    if channels != backbone.spec.latent_channels:
        raise UserError(
            f"data.videos: latents have {channels} channels, the teacher's have "
            f"{backbone.spec.latent_channels}; make the cache with this teacher"
        )
    _check_frames(recipe, frames)
    shown = (frames - 1) * backbone.spec.temporal_factor + 1
    if feed.images is None and clips.frames_bl3hw is not None:
        shown = clips.frames_bl3hw.shape[1]
    if judged_frames(recipe) > shown:
        raise UserError(
            f"critic.frames_per_clip: got {recipe.critic.frames_per_clip}, but the clips of "
            f"data.videos have {shown} frames to show; give at most {shown}"
        )


def _check_asked(videos: CachedVideos, recipe: Recipe) -> None:
    """Compare what a recipe says of clips with what its cache holds."""
    asked = {"frames": recipe.data.frames, "fps": recipe.data.fps, "size": recipe.data.size}
    found = videos.index.settings
    for name, wish in asked.items():
        there = tuple(found[name]) if name == "size" else found[name]  # fps: null by interval
        if wish is not None and there is not None and wish != there:
            raise UserError(
                f"data.{name}: got {wish}, but {videos.folder} was made with {there}; remove the "
                f"field, or make another cache with `mcm data cache --{name}`"
            )


def _check_frames(recipe: Recipe, frames: int) -> None:
    """Refuse what looks between frames for clips that have a single one."""
    looks = {"motion.representation": recipe.motion.representation}
    if recipe.clip_critic.weight > 0:
        looks["clip_critic.representation"] = recipe.clip_critic.representation
    for name, value in looks.items():
        if frames == 1 and value in _BETWEEN_FRAMES:
            raise UserError(
                f"{name}: {value} compares frames, but the clips of data.videos have one latent "
                "frame; give raw, or make a cache of longer clips"
            )
