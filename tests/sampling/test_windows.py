"""Windows cover a clip, agree where they overlap, and close a loop."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tests.sampling.fake import FRAMES, SHAPE, ZERO_SNR, FakeBackbone, make_model, make_spec
from torch import Tensor

from mcm.diffusion import Prediction, Schedule
from mcm.errors import UserError
from mcm.sampling.denoiser import Denoiser, Noise
from mcm.sampling.options import Defaults, resolve
from mcm.sampling.windows import WindowedDenoiser, windows

T = torch.tensor(503)


class WindowMean:
    """Predicts the mean over the frames that it sees, and remembers how many they were."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    schedule: Schedule = ZERO_SNR

    def __call__(self, x_bcthw: Tensor, t: Tensor, want: Prediction) -> Tensor:
        self.lengths.append(x_bcthw.shape[2])
        return x_bcthw.mean(2, keepdim=True).expand_as(x_bcthw)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("frames", "length"), [(16, 16), (17, 16), (50, 16), (7, 3), (5, 1)])
@pytest.mark.parametrize("offset", [0, 5, 999])
def test_windows_cover_every_frame(frames: int, length: int, offset: int, loop: bool) -> None:
    found = windows(frames, length, offset, loop)
    assert all(len(window.unique()) == length for window in found)
    assert set(torch.cat(found).tolist()) == set(range(frames))
    if length > 1:
        joined = {tuple(sorted(pair)) for w in found for pair in itertools.pairwise(w)}
        pairs = {(int(a), int(b)) for a, b in joined}
        closing = {(0, frames - 1)} if loop else set()
        assert pairs >= {(k, k + 1) for k in range(frames - 1)} | closing
    if not loop:
        assert all((window.diff() == 1).all() for window in found)


def test_borders_move_from_step_to_step() -> None:
    first, second = windows(48, 16, 999, False), windows(48, 16, 749, False)
    assert {int(w[0]) for w in first[1:-1]}.isdisjoint(int(w[0]) for w in second[1:-1])


def test_a_network_that_sees_single_frames_is_not_changed() -> None:
    class PerFrame(WindowMean):
        def __call__(self, x_bcthw: Tensor, t: Tensor, want: Prediction) -> Tensor:
            return torch.tanh(x_bcthw)

    x = torch.randn(2, 4, 21, 3, 3)
    for loop in (False, True):
        seen = WindowedDenoiser(PerFrame(), 8, loop)(x, T, "x0")
        assert torch.allclose(seen, torch.tanh(x), atol=1e-6)


def test_seams_are_as_smooth_as_the_rest() -> None:
    """A ramp seen in means: hard windows jump by half of their length, blended ones by under 2."""
    ramp = torch.arange(48.0).view(1, 1, -1, 1, 1)
    network = WindowMean()
    seen = WindowedDenoiser(network, 16)(ramp, T, "x0").flatten()
    assert set(network.lengths) == {16}
    assert seen.diff().max() < 2


def test_a_loop_has_no_first_frame() -> None:
    """Turning the noise by a stride turns the result, so no frame is special."""
    x = torch.randn(1, 2, 24, 3, 3)
    looped = WindowedDenoiser(WindowMean(), 8, loop=True)
    turned = looped(x.roll(4, 2), T, "x0")
    assert torch.allclose(turned, looped(x, T, "x0").roll(4, 2), atol=1e-6)
    line = WindowedDenoiser(WindowMean(), 8)
    assert not torch.allclose(line(x.roll(4, 2), T, "x0"), line(x, T, "x0").roll(4, 2), atol=1e-2)


def test_models_make_long_clips_and_loops() -> None:
    model = make_model()
    backbone: Any = model.backbone
    clip = model.generate("a fox", steps=2, frames=7 * FRAMES)
    assert len(clip.frames) == 7 * FRAMES
    assert len(backbone.batches) > 2 * 7
    looped = model.generate("a fox", steps=2, loop=True)
    assert looped.settings["loop"] is True
    assert not np.array_equal(looped.frames, model.generate("a fox", steps=2).frames)


def test_native_length_is_sampled_plainly() -> None:
    backbone = FakeBackbone()
    plain = Denoiser(backbone, backbone.encode_prompt(["a fox"]))
    x = Noise.from_seeds([3]).draw(SHAPE)
    windowed = WindowedDenoiser(plain, FRAMES)
    assert torch.allclose(windowed(x, T, "v"), plain(x, T, "v"), atol=1e-6)


def test_loops_need_frames_that_decode_alone() -> None:
    with pytest.raises(UserError, match="loop: this model's autoencoder"):
        resolve(Defaults("ddim", 10, 1.0), make_spec(temporal_factor=4), frames=5, loop=True)
