"""The adapters that the authors of the Motion Consistency Model published, by their own names.

They are PEFT folders (``adapter_config.json``, ``adapter_model.safetensors``) without a word on
their teacher, which is said here. Weights come from a model hub and stay in its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mcm.backbones.components import FULL_WEIGHTS
from mcm.errors import UserError

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
        UserError: The hub cannot be reached.
    """
    return fetch(REPOSITORY, name) / name


def fetch_teacher(name: str) -> tuple[Path, Path | None]:
    """Return the folders of a published adapter's teacher and of its motion modules.

    Raises:
        UserError: The hub cannot be reached.
    """
    base = PUBLISHED[name]
    motion = base.motion_adapter
    return fetch(base.model), None if motion is None else fetch(motion)


def fetch(repository: str, folder: str = "") -> Path:
    """Return a repository's folder in the hub's cache, with the files that are needed.

    Args:
        repository: ``owner/name``.
        folder: The only one that is wanted; all by default.

    Raises:
        UserError: The hub cannot be reached, and the cache does not hold it.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = [path for path in HfApi().list_repo_files(repository) if path.startswith(folder)]
        return Path(snapshot_download(repository, allow_patterns=wanted(files)))
    except Exception as error:  # whatever the network or the hub may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except Exception:  # not in the cache either
        raise UserError(
            f"model: {repository} cannot be fetched: {reason:.200}. Where there is no network, "
            "copy the adapter's folder and its teacher here, and write an mcm.json into the "
            'adapter\'s folder: {"base": TEACHER, "original_steps": 50, "timestep_scaling": 4.0}'
        ) from None


def wanted(files: Sequence[str]) -> list[str]:
    """Return the files of a repository to fetch: texts, and one set of weights of each component.

    Weights in half precision are taken where there are no others, pickled ones never, and the
    safety checker, which a distilled student does not use, is left out.
    """
    paths = [PurePosixPath(file) for file in files]
    paths = [path for path in paths if "safety_checker" not in path.parts]
    full = {path.parent for path in paths if path.name in FULL_WEIGHTS}
    chosen = [path for path in paths if path.suffix in (".json", ".txt", ".model")]
    for path in paths:
        is_full = path.name in FULL_WEIGHTS or "-of-" in path.name
        is_half = path.name.endswith(".fp16.safetensors")
        if path.suffix == ".safetensors" and (is_full if path.parent in full else is_half):
            chosen.append(path)
    return [str(path) for path in chosen]
