"""How often the mark of `mcm.safety` comes back after each attack, and false alarms.

    python benchmarks/watermark.py --size 128x128 --kind clean --clips 100
    python benchmarks/watermark.py --unmarked 10000 -o outputs/unmarked
    python benchmarks/watermark.py --unmarked 10000 -o outputs/unmarked --part 0 --parts 2

False alarms are counted clip by clip into a file of each part, so that a broken run goes on where
it stood and parts run side by side or one after the other; each prints what all parts found so
far, with Clopper and Pearson's one-sided 95 % bound.

`--method` compares with what can be installed: `dwtDct`, `dwtDctSvd` and `rivaGan` of
invisible-watermark, and `blind-watermark`. They carry 32 bits without a check, so theirs count as
found when all bits of the vote over the frames are right.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.scene import BACKGROUNDS
from mcm.data.fluent.world import World
from mcm.forensics.distortions import (
    Distortion,
    Frames,
    crop,
    gif,
    h264,
    one_after_other,
    resized,
    scale,
    screenshot,
    tone,
    vp9,
)
from mcm.forensics.material import REAL, real_clip
from mcm.safety.search import FALSE_ALARMS, find
from mcm.safety.watermark import embed

_CHANCE = np.random.default_rng(0)


def crop_and_stretch(frames: Frames) -> Frames:
    return resized(crop(0.8, 0.9, _CHANCE)(frames), *frames.shape[1:3])


ATTACKS: dict[str, Distortion] = {
    "none": lambda frames: frames,
    "H.264 crf 23": h264(23),
    "H.264 crf 28": h264(28),
    "H.264 crf 32": h264(32),
    "VP9 crf 32": vp9,
    "GIF palette": gif,
    "resize 0.5": scale(0.5),
    "resize 0.75": scale(0.75),
    "resize 1.5": scale(1.5),
    "resize 2": scale(2),
    "resize 0.5, crf 23": one_after_other(scale(0.5), h264(23)),
    "crop 20% of the area": crop(0.894, 0.894, _CHANCE),
    "crop 20% of each side": crop(0.8, 0.8, _CHANCE),
    "crop sides 20%, crf 23": one_after_other(crop(0.8, 0.8, _CHANCE), h264(23)),
    "crop, stretched back": crop_and_stretch,
    "trim to 5 frames": lambda frames: frames[4:9],
    "half the frame rate": lambda frames: frames[::2],
    "double frame rate, crf 23": lambda frames: h264(23)(frames.repeat(2, 0)),
    "brightness +20": tone(20, 1),
    "brightness -20": tone(-20, 1),
    "contrast 0.8": tone(0, 0.8),
    "contrast 1.2": tone(0, 1.2),
    "one frame": lambda frames: frames[7:8],
    "screenshot (crf 23, JPEG)": screenshot,
}


def clip(number: int, kind: str, size: tuple[int, int]) -> Frames:
    """Return a clip of the evaluation split, clean or poor, enlarged to a size (h, w)."""
    frames = real_clip(kind, number, "evaluation")
    return frames if frames.shape[1:3] == size else resized(frames, *size)


def rival(name: str) -> tuple[Callable[[Frames, int], Frames], Callable[[Frames], int | None]]:
    """Return embedding and reading of another package."""
    if name == "blind-watermark":
        return _blind_watermark()
    import cv2
    from imwatermark import WatermarkDecoder, WatermarkEncoder

    if name == "rivaGan":
        WatermarkEncoder.loadModel()
        WatermarkDecoder.loadModel()

    def put(frames: Frames, payload: int) -> Frames:
        encoder = WatermarkEncoder()
        encoder.set_watermark("bytes", payload.to_bytes(4))
        turned = [encoder.encode(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), name) for frame in frames]
        return np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in turned])

    def read(frames: Frames) -> int:
        decoder = WatermarkDecoder("bits", 32)
        bits = [decoder.decode(cv2.cvtColor(f, cv2.COLOR_RGB2BGR), name) for f in frames]
        return _number(np.mean(np.array(bits, float), 0))

    return put, read


def _blind_watermark() -> tuple[Callable[[Frames, int], Frames], Callable[[Frames], int]]:
    from blind_watermark import WaterMark, bw_notes

    bw_notes.close()

    def put(frames: Frames, payload: int) -> Frames:
        made = []
        for frame in frames:
            mark = WaterMark(password_img=1, password_wm=1)
            mark.read_img(img=frame[..., ::-1].copy())
            mark.read_wm([bit == "1" for bit in f"{payload:032b}"], mode="bit")
            made.append(np.clip(mark.embed(), 0, 255).astype(np.uint8)[..., ::-1])
        return np.stack(made)

    def read(frames: Frames) -> int:
        bits = []
        for frame in frames:
            mark = WaterMark(password_img=1, password_wm=1)
            bits.append(mark.extract(embed_img=frame[..., ::-1].copy(), wm_shape=32, mode="bit"))
        return _number(np.mean(bits, 0))

    return put, read


def _number(bits: NDArray[np.float64]) -> int:
    return int("".join("1" if bit > 0.5 else "0" for bit in bits), 2)


def own() -> tuple[Callable[[Frames, int], Frames], Callable[[Frames], int | None]]:
    def read(frames: Frames) -> int | None:
        mark = find(frames)
        return None if mark is None else mark.payload

    return embed, read


def psnr(before: Frames, after: Frames) -> float:
    """Return the least peak signal-to-noise ratio of a frame, in dB."""
    error = ((before.astype(np.float32) - after) ** 2).mean((1, 2, 3))
    return float(10 * np.log10(255**2 / max(float(error.max()), 1e-9)))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mark clips, attack them, read them."""
    put, read = own() if arguments.method == "mcm" else rival(arguments.method)
    width, height = map(int, arguments.size.split("x"))
    attacks = {name: ATTACKS[name] for name in arguments.only or ATTACKS}
    found: dict[str, int] = dict.fromkeys(attacks, 0)
    quality, seconds, reading = [], [], []
    for number in chosen(arguments.ground, arguments.first, arguments.clips):
        frames = clip(7 * number, arguments.kind, (height, width))
        payload = int(np.random.default_rng(number).integers(2**32))
        start = time.perf_counter()
        marked = put(frames, payload)
        seconds.append(time.perf_counter() - start)
        quality.append(psnr(frames, marked))
        for name, attack in attacks.items():
            attacked = attack(marked)
            start = time.perf_counter()
            try:
                found[name] += read(attacked) == payload
            except Exception:  # a rival that cannot read a size has not found the mark
                continue
            reading.append(time.perf_counter() - start)
    return {
        "method": arguments.method,
        "size": arguments.size,
        "kind": arguments.kind,
        "clips": arguments.clips,
        "first": arguments.first,
        "ground": arguments.ground,
        "psnr_least": round(min(quality), 2),
        "psnr_mean": round(float(np.mean(quality)), 2),
        "embed_seconds": round(float(np.median(seconds)), 4),
        "read_seconds_median": round(float(np.median(reading)), 4),
        "read_seconds_most": round(max(reading), 2),
        "recovered_percent": {
            name: round(100 * count / arguments.clips, 1) for name, count in found.items()
        },
    }


def chosen(ground: str | None, first: int, count: int) -> list[int]:
    """Return the numbers of clips, those on a ground only if one is named."""
    world, numbers = World(), itertools.count(first)
    fitting = (
        number
        for number in numbers
        if ground in (None, world.scene(7 * number, "evaluation").combination.background)
    )
    return list(itertools.islice(fitting, count))


def unmarked(count: int, folder: Path, part: int, parts: int) -> dict[str, Any]:
    """Look for the mark in clips that bear none: this part's share of them.

    Clips of the train split, clean and poor in turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{part}-of-{parts}.jsonl"
    done = {row["clip"] for row in looked_at([path])}
    with path.open("a", encoding="utf-8") as file:
        for number in range(part, count, parts):
            if number not in done:
                mark = find(real_clip(REAL[number // parts % 2], number, "train"))
                row = {"clip": number, "found": None if mark is None else mark.strength}
                file.write(json.dumps(row) + "\n")
                file.flush()
    return false_alarms(looked_at(folder.glob("part-*.jsonl")))


def looked_at(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of files, a torn last line left out, each clip once."""
    lines = [line for path in paths if path.is_file() for line in path.open(encoding="utf-8")]
    rows = [json.loads(line) for line in lines if line.endswith("}\n")]
    return list({row["clip"]: row for row in rows}.values())


def false_alarms(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many clips without a mark were said to bear one, and bounds of that rate."""
    from scipy.stats import beta

    alarms = sorted(row["clip"] for row in rows if row["found"] is not None)
    count, wrong = len(rows), len(alarms)
    upper = float(beta.ppf(0.95, wrong + 1, count - wrong)) if wrong < count else 1.0
    return {
        "unmarked": count,
        "alarms": alarms,
        "rate_at_most_95_percent": upper,
        "rate_at_most_by_theory": FALSE_ALARMS,
    }


def main() -> None:
    """Read the command line and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="128x128", help="WIDTHxHEIGHT")
    parser.add_argument("--kind", default="clean", choices=["clean", "poor"])
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    parser.add_argument("--ground", choices=list(BACKGROUNDS), help="clips on this one alone")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), help="these attacks alone")
    parser.add_argument("--method", default="mcm")
    parser.add_argument("--unmarked", type=int, help="count false alarms in so many clips instead")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/unmarked"))
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    asked = parser.parse_args()
    if asked.unmarked:
        result = unmarked(asked.unmarked, asked.output, asked.part, asked.parts)
    else:
        result = measure(asked)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
