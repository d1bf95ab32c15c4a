"""The adapters that the authors of the Motion Consistency Model published, by their own names.

They are PEFT folders (``adapter_config.json``, ``adapter_model.safetensors``) without a word on
their teacher, which is said here. Weights come from a model hub, or from folders of its names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcm.backbones.hub import fetch

REPOSITORY = "yhzhai/mcm"
ORIGINAL_STEPS, TIMESTEP_SCALING = 50, 4.0


@dataclass(frozen=True)
class Base:
    """The repositories of a teacher.

    Attributes:
        model: In the layout of diffusers.
        motion_adapter: Motion modules that are added to it, if any.
    """

    model: str
    motion_adapter: str | None = None


_MODELSCOPE = Base("ali-vilab/text-to-video-ms-1.7b")
_ANIMATEDIFF = Base(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", "guoyww/animatediff-motion-adapter-v1-5-2"
)
PUBLISHED = {
    **{
        f"modelscopet2v-{images}": _MODELSCOPE
        for images in ("webvid", "laion", "anime", "real", "3d-cartoon")
    },
    **{f"animatediff-{images}": _ANIMATEDIFF for images in ("webvid", "laion")},
}
"""Teacher by the name of the adapter."""


def fetch_adapter(name: str) -> Path:
    """Return the folder of a published adapter, fetched from the hub if it is not there yet.

    Raises:
        UserError: It is neither here nor in the hub's cache, and the hub cannot be reached.
    """
    return fetch(REPOSITORY, name) / name
