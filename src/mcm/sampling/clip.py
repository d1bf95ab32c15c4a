"""A generated clip and everything that is known of how it was made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm import __version__


@dataclass(frozen=True, eq=False)
class Clip:
    """What a model generated.

    Attributes:
        frames: Frames, uint8, (t, h, w, 3), RGB.
        fps: Frames per second.
        prompt: What it shows.
        seed: Seed of its noise; with the settings it gives the same clip again.
        settings: Model, sampler, steps, guidance and what else was chosen; JSON-ready.
        timings: Seconds spent in ``text``, ``network`` and ``decode``; of the whole batch.
        source: File that was edited to make it; its manifest goes into that of the saved clip.
    """

    frames: NDArray[np.uint8]
    fps: float
    prompt: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    source: Path | None = None

    @property
    def seconds(self) -> float:
        """Seconds from text to frames."""
        return sum(self.timings.values())

    def metadata(self) -> dict[str, Any]:
        """Return what a file says of the clip: software, prompt, seed, settings."""
        return {
            "software": f"mcm {__version__}",
            "prompt": self.prompt,
            "seed": self.seed,
            **self.settings,
        }

    def save(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        alpha: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Write the clip with its metadata, signed and marked.

        Args:
            path: File, or for ``frames`` a folder; its ending says the format.
            format: `mp4`, `gif`, `webp`, `webm`, `frames` or `sheet`, if not the ending's.
            alpha: Make the plain background transparent (`frames`, `webp`, `sheet`).
            overwrite: Replace what is there.

        Returns:
            Where it was written.

        Raises:
            UserError: The format is not known or holds no transparency, something is there, the
                background is not plain, or the place cannot be written.
        """
        from mcm.media import save_video

        return save_video(
            self.frames,
            path,
            fps=self.fps,
            metadata=self.metadata(),
            format=format,
            alpha=alpha,
            overwrite=overwrite,
            source=self.source,
        )
