"""What an autoencoder of the embedded world keeps of frames: PSNR and sharpness by domain.

    python benchmarks/autoencoder.py src/mcm/weights/fluent/vae runs/decoder/vae

Whole frames of combinations that no training saw, for all autoencoders the same. The
first line is the sharpness of the frames themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from numpy.typing import NDArray
from torch import Tensor

from mcm.data.fluent.world import World
from mcm.evaluation.sharpness import sharpness
from mcm.sampling.pixels import to_uint8
from mcm.teacher.autoencoder import WorldFrames

Frames = NDArray[np.uint8]
DOMAINS = {"poor video": slice(0, 4), "clean stills": slice(4, 6), "flat drawings": slice(6, 8)}


def psnr(made_thwc: Frames, real_thwc: Frames) -> list[float]:
    """Return 10·log10(255² / mean squared error) of each frame, in dB."""
    error = np.square(made_thwc.astype(np.float64) - real_thwc).mean((1, 2, 3))
    return list(10 * np.log10(255**2 / error))


def mean_sharpness(frames_thwc: Frames) -> str:
    """Return the mean of the sharpness of each frame by itself."""
    return f"{np.nanmean([sharpness(frame[None]) for frame in frames_thwc]):.2f}"


@torch.inference_mode()
def decoded(model: AutoencoderDC, x_bchw: Tensor) -> Frames:
    """Encode and decode frames in [-1, 1]; return them as uint8 (b, h, w, 3)."""
    return to_uint8(model.decode(model.encode(x_bchw).latent).sample)


def measure(model: AutoencoderDC, batches: list[Tensor]) -> str:
    """Return a line of each domain's mean PSNR and sharpness."""
    words = []
    for name, part in DOMAINS.items():
        made = np.concatenate([decoded(model, batch[part]) for batch in batches])
        real = np.concatenate([to_uint8(batch[part]) for batch in batches])
        words.append(f"{name} {np.mean(psnr(made, real)):.2f} dB, sharpness {mean_sharpness(made)}")
    return "; ".join(words)


def frames_themselves(batches: list[Tensor]) -> str:
    """Return a line of the sharpness of each domain's frames as they are."""
    return "; ".join(
        f"{name} {mean_sharpness(np.concatenate([to_uint8(batch[part]) for batch in batches]))}"
        for name, part in DOMAINS.items()
    )


def main() -> None:
    """Print a line for each autoencoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vae", type=Path, nargs="+", help="folder of an autoencoder")
    parser.add_argument("--batches", type=int, default=24, help="of 8 frames")
    given = parser.parse_args()
    frames = WorldFrames(World(), 8, "evaluation")
    batches = [frames[number] for number in range(given.batches)]
    print(f"sharpness of the frames: {frames_themselves(batches)}")
    for folder in given.vae:
        model = AutoencoderDC.from_pretrained(folder).eval()
        print(f"{folder}: {measure(model, batches)}")


if __name__ == "__main__":
    main()
