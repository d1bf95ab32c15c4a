"""What is refused before a cache is made: clips and images that a backbone cannot encode."""

from __future__ import annotations

from mcm.backbones.base import BackboneSpec
from mcm.checks import check_frames, check_size
from mcm.data.cache_jobs import ImageJob, VideoJob
from mcm.data.grey import Window
from mcm.errors import UserError


def check_video_job(job: VideoJob, spec: BackboneSpec) -> None:
    """Refuse clips that the backbone cannot encode.

    Raises:
        UserError: Frames, rate, kept frames, window or size do not fit.
    """
    for name in ("frames", "fps", "frame_interval"):
        value = getattr(job, name)
        if value is not None and not value > 0:
            raise UserError(f"{name}: got {value}, expected more than 0")
    if not 0 <= job.keep_frames <= job.frames:
        raise UserError(
            f"keep_frames: got {job.keep_frames}, expected 0 to {job.frames}, the frames of a clip"
        )
    _check_window(job.window)
    check_frames(job.frames, spec.frame_step)
    check_size(*job.size, spec.size_step)


def check_image_job(job: ImageJob, spec: BackboneSpec) -> None:
    """Refuse images that the backbone cannot encode.

    Raises:
        UserError: Window or size do not fit.
    """
    _check_window(job.window)
    check_size(*job.size, spec.spatial_factor)


def _check_window(window: Window | None) -> None:
    if window is not None and not window[0] < window[1]:
        raise UserError(
            f"window: got {window[0]:g},{window[1]:g}, expected LOW,HIGH with LOW below"
        )
