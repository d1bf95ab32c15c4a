"""Room for words of motion in the text states.

Concept and background alone tell the clips of a contrastive batch apart, so that a text encoder
trained by contrast leaves motions all but alike: "left" and "right" were 0.5 apart where two
concepts were 7 and two backgrounds 10. A video network then never learns to read them. Here the
encoder learns its own former states plus a code of the named motion, in directions that the
former states hardly use; what is not known yet at a token has the codes' mean, nothing.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from shutil import copytree

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from mcm.data.fluent.captions import image_caption, video_caption
from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.scene import MOTIONS, Combination, combinations
from mcm.teacher.loop import LoopConfig, train
from mcm.teacher.text import MAX_TOKENS

_QUIETEST = 8
"""Directions left out: a layer norm leaves one empty, and its neighbours are noise."""


def spread_motions(
    text: Path,
    folder: Path,
    config: LoopConfig,
    distance: float = 6.0,
    batch_size: int = 128,
    minutes: float | None = None,
) -> None:
    """Fine-tune a text encoder until motions are ``distance`` apart; save it with its tokenizer.

    Args:
        text: Folder of ``tokenizer`` and ``text_encoder``.
        folder: Holds the run; resumed if there.
        config: The schedule.
        distance: Between the states of two motions, where a state has a norm of √width.
        batch_size: Captions in a batch.
        minutes: Stop after this time even if steps remain.
    """
    torch.manual_seed(config.seed)
    tokenizer = CLIPTokenizer.from_pretrained(text / "tokenizer")
    former = CLIPTextModel.from_pretrained(text / "text_encoder").eval().requires_grad_(False)
    encoder = deepcopy(former).train().requires_grad_(True)
    world = combinations("train")

    def batch(step: int, count: int = batch_size) -> tuple[Tensor, Tensor]:
        captions, motions = draw_captions(world, count, np.random.default_rng((config.seed, step)))
        ids = tokenizer(
            captions, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt"
        ).input_ids
        return ids, motions

    codes_md = motion_codes(former(batch(0, 1024)[0]).last_hidden_state, distance)

    def losses(step: int) -> dict[str, Tensor]:
        ids, motions = batch(step)
        wanted = former(ids).last_hidden_state + codes_md[motions][:, None]
        error = encoder(ids).last_hidden_state - wanted
        return {"states": error.square().sum(-1).mean()}

    train(encoder, losses, lambda start: range(start, config.steps + 1), config, folder, minutes)
    encoder.save_pretrained(folder / "text_encoder")
    copytree(text / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)


def motion_codes(states_bld: Tensor, distance: float) -> Tensor:
    """Return a code for each motion and, last, nothing for none: (10, d).

    The codes are ``distance`` apart, have the mean zero, and lie in the directions in which states
    vary least.
    """
    states = states_bld.flatten(0, 1)
    states = states - states.mean(0)
    _, directions = torch.linalg.eigh(states.T @ states / len(states))
    quiet = directions.T[_QUIETEST : _QUIETEST + len(MOTIONS)] * distance / 2**0.5
    return torch.cat([quiet - quiet.mean(0), torch.zeros_like(quiet[:1])])


def draw_captions(
    world: list[Combination], count: int, rng: np.random.Generator
) -> tuple[list[str], Tensor]:
    """Return captions of random combinations and the number of the motion that each names.

    Every eighth is a still's, which names none: number 9.
    """
    captions, motions = [], []
    for number in range(count):
        named = world[rng.integers(len(world))]
        if number % 8:
            captions.append(video_caption(named, rng))
            motions.append(MOTIONS.index(named.motion))
        else:
            captions.append(image_caption(CONCEPTS[named.concept].name, named.background, rng))
            motions.append(len(MOTIONS))
    return captions, torch.tensor(motions)
