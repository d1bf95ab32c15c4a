"""Words of motion are set apart, and nothing else changes."""

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTextModel, CLIPTokenizer

import mcm
from mcm.backbones.text import ClipText
from mcm.data.fluent.scene import MOTIONS, combinations
from mcm.teacher.loop import LoopConfig
from mcm.teacher.words import draw_captions, motion_codes, spread_motions

WEIGHTS = Path(mcm.__file__).parent / "weights" / "fluent"


def test_codes_are_apart_and_mean_nothing_together() -> None:
    codes_md = motion_codes(torch.randn(64, 5, 40), distance=6.0)
    assert codes_md.shape == (len(MOTIONS) + 1, 40)
    apart = torch.cdist(codes_md[:-1], codes_md[:-1])
    torch.testing.assert_close(apart, 6.0 * (1 - torch.eye(len(MOTIONS))), atol=1e-3, rtol=0)
    assert codes_md.sum(0).abs().max() < 1e-4
    assert not codes_md[-1].any()


def test_codes_lie_where_states_hardly_vary() -> None:
    loud = torch.randn(64, 5, 40) * torch.tensor([0.01] * 20 + [10.0] * 20)
    codes_md = motion_codes(loud, distance=6.0)
    assert codes_md[:, 20:].abs().max() < 0.1 * codes_md.abs().max()


def test_captions_tell_their_motion() -> None:
    captions, motions = draw_captions(combinations("train"), 64, np.random.default_rng(3))
    assert (motions[::8] == len(MOTIONS)).all()
    for caption, motion in zip(captions, motions.tolist(), strict=True):
        if motion < len(MOTIONS) and MOTIONS[motion] in ("left", "right"):
            assert MOTIONS[motion] in caption


def encode(folder: Path, caption: str) -> torch.Tensor:
    text = ClipText(
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
    )
    return text.encode([caption]).tokens_bld[0, -1]


def test_a_short_run_moves_motions_apart(tmp_path: Path) -> None:
    config = LoopConfig(steps=50, lr=2e-3, warmup=1, ema_decay=0.0)
    spread_motions(WEIGHTS, tmp_path, config, distance=12.0, batch_size=16)
    left, spin = "a fox moving left on a blue background", "a fox spinning on a blue background"
    before = (encode(WEIGHTS, left) - encode(WEIGHTS, spin)).norm()
    after = (encode(tmp_path, left) - encode(tmp_path, spin)).norm()
    assert after > 1.3 * before, (before, after)
