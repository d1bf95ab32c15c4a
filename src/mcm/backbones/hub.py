"""Folders of a model hub, by ``OWNER/NAME`` or ``OWNER/NAME@REVISION``; they stay in its cache.

A folder of that very name here wins, so that a machine without network can be given one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mcm.backbones.components import FULL_WEIGHTS
from mcm.backbones.lora_files import LORA_FILE
from mcm.errors import UserError

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_CACHED = re.compile(r"models--(.+?)--([^/]+)/snapshots/(\w+)")
_TEXTS = (".json", ".txt", ".model", ".yaml")


def split_name(name: str) -> tuple[str, str | None] | None:
    """Return repository and revision (branch, tag or commit) of a name, or ``None`` if it is none.

    ``OWNER/NAME`` has the revision ``None``, which is the newest.
    """
    found = _NAME.fullmatch(name)
    return None if found is None else (found["repository"], found["revision"])


def name_of(folder: Path) -> str | None:
    """Return ``OWNER/NAME@COMMIT`` of a folder in the hub's cache, or ``None`` for any other."""
    found = _CACHED.search(folder.as_posix())
    return f"{found[1]}/{found[2]}@{found[3]}" if found else None


def locate(source: str | Path) -> Path | None:
    """Return the folder of that name, or else what the hub has under it.

    Args:
        source: A folder, or a name of the hub (a string; a `Path` is always a folder).

    Returns:
        The folder; ``None`` if there is none and the name is not of a hub's form.

    Raises:
        UserError: The hub has no such repository, or cannot be reached and its cache lacks it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(source, Path) or split_name(source) is None:
        return None
    return fetch(source)


def beside_or_hub(name: str, folder: Path) -> Path:
    """Return the folder that a file in ``folder`` names: from there, from here, or on the hub.

    One that is nowhere is returned as it would be beside the file.

    Raises:
        UserError: As `locate`.
    """
    beside = folder / name
    return beside if beside.is_dir() else locate(name) or beside


def fetch(name: str, folder: str = "") -> Path:
    """Return a repository's folder with the files that are needed.

    Args:
        name: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        folder: The only one of the repository that is wanted; all by default.

    Raises:
        UserError: The hub has no such repository, or cannot be reached and its cache lacks it, or
            there are no weights in safetensors; the message says how to get the folder.
    """
    if (Path(name) / folder).is_dir():
        return Path(name)
    parts = split_name(name)
    assert parts is not None, name
    return _fetch(name, *parts, folder)


def _fetch(name: str, repository: str, revision: str | None, folder: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        siblings = HfApi().model_info(repository, revision=revision).siblings or []
        files = wanted([s.rfilename for s in siblings if s.rfilename.startswith(folder)])
        if any(file.endswith(".safetensors") for file in files):
            return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
        reason = "it holds no safetensors weights, and pickled ones are refused"
    except Exception as error:  # whatever the network or the hub may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except Exception:  # not in the cache either
        options = f" --revision {revision}" if revision else ""
        options += f' --include "{folder}/*"' if folder else ""
        raise UserError(
            f"{name}: no such folder, and the hub does not give it: {reason:.200}. Where there is "
            f"a network, run `hf download {repository}{options} --local-dir {name}` and bring the "
            f"folder {name} here, which then is taken"
        ) from None


def wanted(files: Sequence[str]) -> list[str]:
    """Return the files of a repository to fetch: texts, and one set of weights of each component.

    Weights in half precision are taken where there are no others, pickled ones never, and the
    safety checker, which a distilled student does not use, is left out.
    """
    paths = [PurePosixPath(file) for file in files]
    paths = [path for path in paths if "safety_checker" not in path.parts]
    full = {path.parent for path in paths if path.name in FULL_WEIGHTS}
    chosen = [path for path in paths if path.suffix in _TEXTS]
    for path in paths:
        is_half = ".fp16" in path.name
        is_full = not is_half and (path.name in FULL_WEIGHTS or "-of-" in path.name)
        in_place = is_full if path.parent in full else is_half
        if path.suffix == ".safetensors" and (in_place or _of_student(path)):
            chosen.append(path)
    return [str(path) for path in chosen]


def _of_student(path: PurePosixPath) -> bool:
    """Whether a file is a student's adapter, or the head or critic of its training."""
    return path.name.startswith(PurePosixPath(LORA_FILE).stem) or path.parent.name == "auxiliary"
