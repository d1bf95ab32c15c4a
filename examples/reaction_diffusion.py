"""Renders a small data set of scientific visualisation: reaction and diffusion on a plane.

    python -m examples.reaction_diffusion -o data/reaction
    python -m examples.reaction_diffusion -o data/reaction --videos 2000 --images 1000

Two substances U and V in the Gray-Scott model (Pearson, *Complex Patterns in a Simple System*,
Science 261, 1993): ∂U/∂t = D_u ΔU − UV² + F(1 − U), ∂V/∂t = D_v ΔV + UV² − (F + k)V.

`videos/` holds recordings as a laboratory has them: a coarse grid, one grey channel (V), blurred
and compressed. `images/` holds stills as a paper wants them: smooth, V in colour, lit as a
relief. The same words describe both, so a student can take the motion of the one and the looks of
the other. Everything follows from the seed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcm.errors import UserError
from mcm.media.containers import write_mp4
from mcm.media.images import write_png

Field = NDArray[np.float32]
Frames = NDArray[np.uint8]

SIDE, FRAMES, FPS = 128, 16, 8
GRID = 64
BATCH = 16


@dataclass(frozen=True)
class Pattern:
    """What grows at some rates, and how fast.

    Attributes:
        feed: F.
        kill: k.
        starts: Earliest and latest first frame, in simulation steps.
        pace: Simulation steps of a frame.
    """

    feed: float
    kill: float
    starts: tuple[int, int]
    pace: int


PATTERNS = {
    "spots that divide": Pattern(0.0367, 0.0649, (200, 1400), 100),
    "a maze": Pattern(0.029, 0.057, (200, 600), 40),
    "coral": Pattern(0.0545, 0.062, (300, 1400), 80),
    "drifting spots": Pattern(0.014, 0.054, (200, 700), 40),
    "a honeycomb": Pattern(0.039, 0.058, (200, 700), 40),
    "waves": Pattern(0.018, 0.051, (100, 500), 25),
}
ORIGINS = {
    "the middle": (0.5, 0.5),
    "the left": (0.5, 0.15),
    "the right": (0.5, 0.85),
    "the top": (0.15, 0.5),
    "the bottom": (0.85, 0.5),
}
"""Words and (y, x) of the first disturbance, as shares of the side."""
_DIFFUSION_U, _DIFFUSION_V = 0.5, 0.25
_COLOURS = np.array(
    [[13, 8, 60], [70, 20, 120], [180, 55, 105], [245, 130, 60], [252, 220, 140]], np.float32
)
"""Of V from 0 to its highest level, evenly spaced."""
_HIGHEST = 0.4


@dataclass(frozen=True)
class Scene:
    """What one clip or still shows.

    Attributes:
        pattern: Key of `PATTERNS`.
        origin: Key of `ORIGINS`.
        start: Simulation steps before the first frame.
        seed: Of the noise in the first state.
    """

    pattern: str
    origin: str
    start: int
    seed: int

    @property
    def caption(self) -> str:
        """What to tell a model of it."""
        return f"{self.pattern} growing from {self.origin}"


def draw_scenes(count: int, seed: int) -> list[Scene]:
    """Draw scenes, all patterns and origins equally often."""
    rng = np.random.default_rng(seed)
    kinds = [(pattern, origin) for pattern in PATTERNS for origin in ORIGINS]
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    return [
        Scene(pattern, origin, int(rng.integers(*PATTERNS[pattern].starts)), number)
        for number, (pattern, origin) in enumerate(chosen)
    ]


def simulate(scenes: Sequence[Scene], side: int, frames: int) -> Field:
    """Run scenes side by side and return V at their frames, (b, frames, side, side)."""
    grown = [PATTERNS[scene.pattern] for scene in scenes]
    feed = np.array([pattern.feed for pattern in grown], np.float32)[:, None, None]
    kill = np.array([pattern.kill for pattern in grown], np.float32)[:, None, None]
    u, v = (np.stack(parts) for parts in zip(*(_start(s, side) for s in scenes), strict=True))
    shown = np.zeros((len(scenes), frames, side, side), np.float32)
    paces = np.array([pattern.pace for pattern in grown])
    times = np.array([scene.start for scene in scenes])[:, None] + np.outer(paces, range(frames))
    for step in range(int(times.max()) + 1):
        which, frame = np.nonzero(times == step)
        shown[which, frame] = v[which]
        reaction = u * v * v
        u += _DIFFUSION_U * laplacian(u) - reaction + feed * (1 - u)
        v += _DIFFUSION_V * laplacian(v) + reaction - (feed + kill) * v
    return shown


def laplacian(x_bhw: Field) -> Field:
    """Return Δx on a torus, by nine points: 0.2 beside, 0.05 at the corners."""
    rows = np.roll(x_bhw, 1, 1) + np.roll(x_bhw, -1, 1)
    columns = np.roll(x_bhw, 1, 2) + np.roll(x_bhw, -1, 2)
    corners = np.roll(rows, 1, 2) + np.roll(rows, -1, 2)
    result: Field = 0.2 * (rows + columns) + 0.05 * corners - x_bhw
    return result


def as_recorded(v_thw: Field) -> Frames:
    """Return V as a laboratory's camera sees it: one grey channel, 0 to 0.4 as black to white."""
    grey = np.rint((v_thw / _HIGHEST).clip(0, 1) * 255).astype(np.uint8)
    size, soft = (SIDE, SIDE), Image.Resampling.BILINEAR
    pictures = [Image.fromarray(frame).resize(size, soft).convert("RGB") for frame in grey]
    return np.stack([np.asarray(picture) for picture in pictures])


def as_published(v_hw: Field) -> Frames:
    """Return V in colour, smooth, lit from the upper left as a relief."""
    fine = Image.fromarray(v_hw).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    v_hw = np.asarray(fine, np.float32)
    level = (v_hw / _HIGHEST).clip(0, 1) * (len(_COLOURS) - 1)
    below = np.minimum(level.astype(int), len(_COLOURS) - 2)
    share = (level - below)[..., None]
    colour = (1 - share) * _COLOURS[below] + share * _COLOURS[below + 1]
    slope_y, slope_x = np.gradient(v_hw)
    light = np.clip(1 + 6 * (slope_x + slope_y), 0.5, 1.6)[..., None]
    return np.rint((colour * light).clip(0, 255)).astype(np.uint8)


def render(folder: Path, videos: int, images: int, seed: int = 0) -> None:
    """Write both folders with their `captions.csv`.

    Raises:
        UserError: A folder is there already.
    """
    for name in ("videos", "images"):
        if (folder / name).exists():
            raise UserError(f"{folder / name}: exists already; choose another folder")
    clips, stills = draw_scenes(videos, seed), draw_scenes(images, seed + 1)
    rows = []
    for number, (scene, v_thw) in enumerate(_simulated(clips, FRAMES)):
        rows.append((f"{number:05}.mp4", scene.caption))
        write_mp4(_place(folder / "videos", rows[-1][0]), as_recorded(v_thw), FPS, scene.caption)
    _write_captions(folder / "videos", rows)
    rows = []
    for number, (scene, v_thw) in enumerate(_simulated(stills, 1)):
        rows.append((f"{number:05}.png", scene.caption))
        write_png(_place(folder / "images", rows[-1][0]), as_published(v_thw[0]), scene.caption)
    _write_captions(folder / "images", rows)


def _simulated(scenes: Sequence[Scene], frames: int) -> Iterator[tuple[Scene, Field]]:
    for start in range(0, len(scenes), BATCH):
        some = scenes[start : start + BATCH]
        yield from zip(some, simulate(some, GRID, frames), strict=True)


def _start(scene: Scene, side: int) -> tuple[Field, Field]:
    """Return U and V at rest, but for a noisy square at the origin."""
    rng = np.random.default_rng(scene.seed)
    u, v = np.ones((side, side), np.float32), np.zeros((side, side), np.float32)
    y, x = (int(share * side) for share in ORIGINS[scene.origin])
    half = side // 10
    square = slice(y - half, y + half), slice(x - half, x + half)
    u[square], v[square] = 0.5, 0.25
    v[square] += rng.normal(0, 0.05, v[square].shape).astype(np.float32)
    return u, v


def _place(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _write_captions(folder: Path, rows: Sequence[tuple[str, str]]) -> None:
    with _place(folder, "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "caption"), *rows])


def main() -> None:
    """Render what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=600)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    render(options.output, options.videos, options.images, options.seed)


if __name__ == "__main__":
    main()
