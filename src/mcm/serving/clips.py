"""Clips of finished jobs, each in a folder of its own that appears whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcm.media import FORMATS, save_image, save_video
from mcm.media.save import ALPHA_FORMATS
from mcm.safety.formats import SIDECAR_TYPE, sidecar_of
from mcm.sampling.clip import Clip
from mcm.serving.order import Order
from mcm.serving.source import Source

Facts = dict[str, Any]

_FRAMES, _FACTS, _SOURCE = "frames.npz", "facts.json", "source"
_PARTIAL = re.compile(r"\.video_[0-9a-f]{32}")
"""Name of a clip that is being written."""

TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "webp": "image/webp",
    "frames": "application/zip",
    "sheet": "application/zip",
    "thumbnail": "image/png",
    "c2pa": SIDECAR_TYPE,
}
"""Everything that can be had of a clip, and its media type."""


class ClipFolder:
    """Folders of clips below one root, named as their jobs."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._locks: dict[str, threading.Lock] = {}

    def write(
        self,
        id: str,
        clip: Clip,
        order: Order,
        warnings: Sequence[str] = (),
        source: Source | None = None,
    ) -> Facts:
        """Write a finished clip: every clip of a job passes here, and only here.

        Args:
            id: Of the job.
            clip: What was made.
            order: What was asked for; its format is written at once.
            warnings: What its maker should know.
            source: What was edited to make it, kept for the manifests of its files.

        Returns:
            What is told of it: `settings`, `timings` in seconds, `warnings`.
        """
        facts = {
            "settings": clip.metadata(),
            "timings": clip.timings,
            "warnings": list(warnings),
            "alpha": order.alpha,
        }
        partial = self._root / f".{id}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            np.savez_compressed(partial / _FRAMES, frames=clip.frames, fps=clip.fps)
            (partial / _FACTS).write_text(json.dumps(facts))
            if source is not None:
                (partial / f"{_SOURCE}{source.ending}").write_bytes(source.content)
            _write_format(partial, order.format)
            partial.rename(self._root / id)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return facts

    def facts(self, id: str) -> Facts | None:
        """Return what `write` returned of a clip; `None` if it is not there."""
        file = self._root / id / _FACTS
        return _read_facts(file.parent) if file.is_file() else None

    def file(self, id: str, format: str) -> Path:
        """Return a clip's file in a format, one of `TYPES`; it is made when first asked for.

        `c2pa` is the manifest beside the WebM, which is not there where signing is switched off.

        Raises:
            FileNotFoundError: There is no such clip, or it was deleted meanwhile.
        """
        found = self.made(id, format)
        if found is None:
            path = self._path(id, format)
            with self._lock(id):
                if not path.is_file():
                    _write_format(path.parent, "webm" if format == "c2pa" else format)
            found = self.made(id, format)
        if found is None:
            raise FileNotFoundError(id)
        return found

    def made(self, id: str, format: str) -> Path | None:
        """Return a clip's file in a format if it was asked for before, else ``None``."""
        path = self._path(id, format)
        if not path.is_file():
            return None
        return sidecar_of(path) if format == "c2pa" else path

    def remove(self, id: str) -> None:
        """Delete a clip, which is in nobody's hands then and never comes back."""
        with self._lock(id):
            shutil.rmtree(self._root / id, ignore_errors=True)
        self._locks.pop(id, None)

    def tidy(self) -> None:
        """Delete what a killed server left half written, and nothing else."""
        for path in self._root.iterdir():
            if _PARTIAL.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, id: str, format: str) -> Path:
        return self._root / id / _file_name("webm" if format == "c2pa" else format)

    def _lock(self, id: str) -> threading.Lock:
        """Return what is held by whoever changes the folder of a clip that is there."""
        return self._locks.setdefault(id, threading.Lock())


def _file_name(format: str) -> str:
    assert format in TYPES
    if format == "thumbnail":
        return "thumbnail.png"
    return f"{format}.zip" if TYPES[format] == "application/zip" else f"clip{FORMATS[format]}"


def _write_format(folder: Path, format: str) -> None:
    """Write the clip of a folder in one more format."""
    facts = _read_facts(folder)
    metadata, alpha = facts["settings"], facts.get("alpha", False) and format in ALPHA_FORMATS
    source = next(folder.glob(f"{_SOURCE}.*"), None)
    with np.load(folder / _FRAMES) as stored:
        frames, fps = stored["frames"], float(stored["fps"])
    target = folder / _file_name(format)
    if format == "thumbnail":
        save_image(frames[len(frames) // 2], target, metadata=metadata)
    elif target.suffix != ".zip":
        save_video(frames, target, fps=fps, metadata=metadata, alpha=alpha, source=source)
    else:
        work = folder / f".{format}"
        shutil.rmtree(work, ignore_errors=True)
        save_video(
            frames,
            work / f"clip{FORMATS[format]}",
            fps=fps,
            metadata=metadata,
            format=format,
            alpha=alpha,
            source=source,
        )
        _zip(work, target)
        shutil.rmtree(work)


def _zip(folder: Path, target: Path) -> None:
    """Pack a folder's files, which PNG compressed already."""
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(partial, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    partial.replace(target)


def _read_facts(folder: Path) -> Facts:
    facts: Facts = json.loads((folder / _FACTS).read_text())
    return facts
