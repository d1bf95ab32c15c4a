"""The teacher's training set in memory: latent clips, captions and what each clip means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mcm.data.fluent.captions import image_caption
from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import BACKGROUNDS, MOTIONS
from mcm.data.fluent.scene import path as path_of
from mcm.data.fluent.world import World, scene_of

_CHUNK = 512


@dataclass(frozen=True)
class LatentCorpus:
    """Latent clips, or stills as clips of one frame, with their captions.

    Attributes:
        latents_ncthw: Scaled latents (n, c, t, h, w) in float16.
        captions: Caption of each clip.
    """

    latents_ncthw: Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def clips(self, index_b: Tensor) -> Tensor:
        """Return clips as float32 (b, c, t, h, w)."""
        return self.latents_ncthw[index_b].float()

    def frames(self, index_b: Tensor, time_b: Tensor) -> Tensor:
        """Return single latent frames as float32 (b, c, h, w)."""
        return self.latents_ncthw[index_b, :, time_b].float()

    def draw(self, seed: int, step: int, count: int) -> Tensor:
        """Return clip numbers of a step: shuffled epochs, a pure function of the arguments."""
        start = step * count
        numbers = []
        for epoch in range(start // len(self), (start + count - 1) // len(self) + 1):
            order = torch.randperm(len(self), generator=generator_of(seed, epoch))
            first = max(start - epoch * len(self), 0)
            numbers.append(order[first : start + count - epoch * len(self)])
        return torch.cat(numbers)


@dataclass(frozen=True)
class ClipCorpus(LatentCorpus):
    """Latent clips of the video domain.

    Attributes:
        meaning_n: Number of the (concept, motion, background) combination of each clip.
        motion_n: Number of the motion in ``MOTIONS``.
        placement_nt5: Place (x, y), side, angle and turn of the object in each frame.
    """

    meaning_n: Tensor
    motion_n: Tensor
    placement_nt5: Tensor

    def told_motions(self, index_b: Tensor, untold_b: Tensor) -> Tensor:
        """Return the motions' numbers of clips; that of none where the caption was dropped."""
        return self.motion_n[index_b].masked_fill(untold_b, len(MOTIONS))

    def every_wording(self) -> Iterator[str]:
        """Yield the captions and wordings of stills, so that the vocabulary knows every noun."""
        yield from self.captions
        rng = np.random.default_rng(0)
        for noun in World().pack.index.stills.values():
            for background in BACKGROUNDS:
                yield image_caption(noun, background, rng)


def generator_of(*key: int) -> torch.Generator:
    """Return a generator seeded by several numbers."""
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def encode_corpus(
    vae: AutoencoderDC, folder: Path, count: int, part: int = 0, parts: int = 1
) -> None:
    """Compose and encode the first ``count`` poor clips; chunks of a broken run are kept.

    Several processes share the work when each is given another ``part`` of ``parts``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = World()
    for number in range(part, -(-count // _CHUNK), parts):
        path = folder / f"clips-{number:04}.safetensors"
        if not path.is_file():
            clips = range(number * _CHUNK, min((number + 1) * _CHUNK, count))
            _encode_chunk(world, clips, vae, path)


@torch.no_grad()
def _encode_chunk(world: World, clips: range, vae: AutoencoderDC, path: Path) -> None:
    videos = [world.poor_video(number) for number in clips]
    latents = torch.stack([_encode_clip(video, vae) for video, _, _ in videos])
    facts = [{"caption": caption, **metadata} for _, caption, metadata in videos]
    partial = path.with_suffix(".part")
    save_file({"latents": latents}, partial, {"facts": json.dumps(facts)})
    partial.replace(path)


def _encode_clip(video: bytes, vae: AutoencoderDC) -> Tensor:
    video_tchw = torch.from_numpy(decode(video)).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents_tchw: Tensor = vae.encode(video_tchw).latent * vae.config.scaling_factor
    return latents_tchw.transpose(0, 1).half()


def load_corpus(folder: Path) -> ClipCorpus:
    """Load the encoded clips of a folder into memory."""
    latents, facts = [], []
    for path in sorted(folder.glob("clips-*.safetensors")):
        with safe_open(path, "pt") as file:
            latents.append(file.get_tensor("latents"))
            facts += json.loads(file.metadata()["facts"])
    meanings = [f"{fact['concept']}/{fact['motion']}/{fact['background']}" for fact in facts]
    numbers = {meaning: number for number, meaning in enumerate(sorted(set(meanings)))}
    return ClipCorpus(
        torch.cat(latents),
        [fact["caption"] for fact in facts],
        torch.tensor([numbers[meaning] for meaning in meanings]),
        torch.tensor([MOTIONS.index(fact["motion"]) for fact in facts]),
        torch.tensor([[astuple(place) for place in path_of(scene_of(fact))] for fact in facts]),
    )
