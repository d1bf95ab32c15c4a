"""`mcm demo`: the student beside its teacher, then a fresh student, distilled on the spot."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcm.data.cache import cache_videos
from mcm.data.fluent.shards import write_shards
from mcm.data.sources import open_source
from mcm.errors import UserError
from mcm.evaluation.sharpness import sharpness
from mcm.evaluation.tracking import track
from mcm.media import save_image, save_video
from mcm.media.containers import Frames
from mcm.media.layout import contact_sheet, side_by_side
from mcm.recipe import resolve
from mcm.sampling.catalog import embedded_models
from mcm.sampling.clip import Clip
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel

PROMPT = "a fox moving left on a blue background"
SEED = 7
TEACHER, STUDENTS = "fluent", ("fluent-mcm-hq", "fluent-mcm")
STUDENT_STEPS = 4
CLIPS = 192
WORK = "fresh-student"
RECIPE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True, eq=False)
class Entry:
    """A model's clip, and the seconds from text to finished mp4 with the model warm."""

    name: str
    clip: Clip
    seconds: float

    @property
    def moved(self) -> float:
        """Pixels that the object moved to the left, as an independent tracker sees it."""
        centre_t2 = track(self.clip.frames).centre_t2
        return float(centre_t2[0, 0] - centre_t2[-1, 0])

    @property
    def sharpness(self) -> float:
        """Sharpness of the object, as the judge of the evaluation sees it."""
        return sharpness(self.clip.frames)


def run_demo(folder: Path = Path("demo"), minutes: float = 4.0) -> list[Path]:
    """Generate, distil, compare; print a table; return the video and the contact sheet.

    Args:
        folder: For clips and working files; those of an earlier demo are replaced.
        minutes: Length of the distillation.

    Raises:
        UserError: The embedded models are not in this installation.
    """
    student = next((name for name in STUDENTS if name in embedded_models()), None)
    if student is None:
        raise UserError("demo: this installation has no embedded student; install a release")
    entries = [_make(load(TEACHER), folder), _make(load(student), folder)]
    written = _compare(entries, folder)
    print(f"side by side: {written[0]}\nnow distilling a fresh student for {minutes:g} minutes")
    entries.append(_make(load(_distil(folder, minutes)), folder))
    written = _compare(entries, folder)
    _print_table(entries)
    return written


def _make(model: VideoModel, folder: Path) -> Entry:
    """Generate and write one clip, timed, after a step that warms the model up."""
    steps = model.defaults.steps if model.name == TEACHER else STUDENT_STEPS
    name = Path(model.name).name
    model.generate(PROMPT, steps=1, seed=SEED)
    start = time.perf_counter()
    clip = model.generate(PROMPT, steps=steps, seed=SEED)
    clip.save(folder / f"{name}.mp4", overwrite=True)
    return Entry(name, clip, time.perf_counter() - start)


def _compare(entries: Sequence[Entry], folder: Path) -> list[Path]:
    clips: list[Frames] = [entry.clip.frames for entry in entries]
    labels = [f"{entry.name}, {entry.clip.settings['steps']} steps" for entry in entries]
    facts, fps = {"prompt": PROMPT, "seed": SEED, "models": labels}, entries[0].clip.fps
    video, sheet = folder / "side-by-side.mp4", folder / "sheet.png"
    row = side_by_side(clips, labels)
    save_video(row, video, fps=fps, metadata=facts, overwrite=True)
    save_image(contact_sheet(clips, labels), sheet, metadata=facts, overwrite=True)
    return [video, sheet]


def _distil(folder: Path, minutes: float) -> Path:
    """Compose clips of the embedded world, cache their latents, distil; return the student."""
    from mcm.distillation.run import distill

    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    write_shards(work / "videos", "video", CLIPS)
    cache_videos(open_source(work / "videos"), load(TEACHER).backbone, work / "latents")
    places = {"data.videos": work / "latents", "trainer.output": work / "run"}
    overrides = [f"{key}={json.dumps(str(place))}" for key, place in places.items()]
    return distill(resolve(RECIPE, [*overrides, f"trainer.max_minutes={minutes}"]))


def _print_table(entries: Sequence[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "steps", "seconds", "speed-up", "moved left", "sharpness")
    for entry in entries:
        table.add_row(
            entry.name,
            str(entry.clip.settings["steps"]),
            f"{entry.seconds:.2f}",
            f"{entries[0].seconds / entry.seconds:.1f}x",
            f"{entry.moved:.0f} px",
            "no object" if math.isnan(entry.sharpness) else f"{entry.sharpness:.2f}",
        )
    Console().print(table)
