"""Clips to look at: the same prompts and seeds by every contender, beside the report."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mcm.evaluation.clips import EvaluationClip
from mcm.media import save_video
from mcm.sampling.options import ModelWarning

Shown = dict[str, tuple[str, dict[str, Path]]]
"""By key of a request its prompt, and the clip of each run."""


@dataclass(frozen=True)
class Gallery:
    """Writes the clips of a few requests under ``folder/clips/KEY/RUN.webp``.

    Attributes:
        folder: Of the evaluation.
        keys: Requests whose clips are kept.
        fps: Frames per second of the files.
    """

    folder: Path
    keys: tuple[str, ...]
    fps: int = 8

    def show(self, run: str, clip: EvaluationClip) -> None:
        """Write the clip if it is of a kept request."""
        if clip.key not in self.keys:
            return
        folder = self.folder / "clips" / clip.key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prompt.json").write_text(json.dumps(clip.prompt) + "\n", encoding="utf-8")
        save_video(clip.frames_thwc, folder / f"{run}.webp", fps=self.fps, overwrite=True)

    def shown(self, runs: Collection[str]) -> Shown:
        """Return by key the prompt, and the clip of each run relative to the folder.

        Args:
            runs: Names of the runs; clips of others, of former evaluations, stay out.

        Warns:
            ModelWarning: Clips of some of the requests are not there: their runs were made when
                fewer were to be shown, or the check of frames refused them.
        """
        found = {}
        for key in self.keys:
            folder = self.folder / "clips" / key
            if (folder / "prompt.json").is_file():
                prompt = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))
                files = [f for f in sorted(folder.glob("*.webp")) if f.stem in runs]
                found[key] = (prompt, {f.stem: f.relative_to(self.folder) for f in files})
        self._tell_lacking(runs, found)
        return found

    def _tell_lacking(self, runs: Collection[str], found: Shown) -> None:
        have = {run: sum(run in files for _, files in found.values()) for run in runs}
        lacking = {run: count for run, count in have.items() if count < len(self.keys)}
        if lacking:
            counts = ", ".join(f"{count} of {run}" for run, count in lacking.items())
            warnings.warn(
                f"shown: of {len(self.keys)} prompts the page has clips of {counts}; clips are "
                "kept when they are made, and refused ones never; for more, evaluate into another "
                "folder",
                ModelWarning,
                stacklevel=3,
            )
