"""Streams: windows that go on from each other, the same for the same seed, and cut off cleanly."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from tests.sampling.fake import FRAMES, FakeBackbone, make_model, make_spec
from torch import Tensor

from mcm.backbones.base import Condition
from mcm.errors import UserError
from mcm.sampling.denoiser import Noise
from mcm.sampling.pipeline import VideoModel
from mcm.sampling.stream import carried


def frames_of(model: VideoModel, windows: int, **options: Any) -> list[Any]:
    return [clip.frames for clip in islice(model.stream("a fox", **options), windows)]


class Drifting(FakeBackbone):
    """Sees frames that move steadily: each is the mean of its neighbours in the noisy input."""

    def predict(self, x_bcthw: Tensor, t_b: Tensor, condition: Condition, want: str = "x0") -> Any:
        alpha, _ = self.schedule.alpha_sigma(t_b)
        seen = x_bcthw / alpha.clamp(min=0.2).view(-1, 1, 1, 1, 1)
        before, after = (torch.roll(seen, shift, 2) for shift in (1, -1))
        before[:, :, 0], after[:, :, -1] = seen[:, :, 0], seen[:, :, -1]
        return (before + seen + after).clamp(-3, 3) / 3


def test_the_first_window_is_the_clip_of_that_seed() -> None:
    model = make_model()
    [first] = frames_of(model, 1, seed=5, steps=4)
    assert np.array_equal(first, model.generate("a fox", seed=5, steps=4).frames)


def test_later_windows_bring_what_the_overlap_leaves() -> None:
    counts = [len(frames) for frames in frames_of(make_model(), 4, overlap=2)]
    assert counts == [FRAMES, FRAMES - 2, FRAMES - 2, FRAMES - 2]


def test_same_seed_same_stream() -> None:
    one, two, other = (frames_of(make_model(), 3, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[1], other[1])
    assert not np.array_equal(one[1], one[2]), "it goes on"


def test_every_step_sees_the_frames_before() -> None:
    """From the second step on the common frames are the last ones of the window before."""
    model = make_model()
    backbone: Any = model.backbone
    seen: list[tuple[int, Tensor]] = []
    predict = backbone.predict

    def spy(x: Tensor, t_b: Tensor, *rest: Any) -> Tensor:
        y: Tensor = predict(x, t_b, *rest)
        seen.append((int(t_b[0]), x))
        return y

    backbone.predict = spy
    made: list[Tensor] = []
    decode = backbone.decode_frames
    backbone.decode_frames = lambda latents: made.append(latents) or decode(latents)
    frames_of(model, 2, steps=2, overlap=1, seed=3)
    t, x = seen[3]
    alpha, sigma = backbone.schedule.alpha_sigma(torch.tensor(t))
    noise = (x[:, :, :1] - alpha * made[0][:, :, -1:]) / sigma
    assert abs(float(noise.std()) - 1) < 0.35, "what is not the known frame is plain noise"
    unlike = (x[:, :, :1] - alpha * made[0][:, :, :1]) / sigma
    assert float(unlike.square().mean()) > float(noise.square().mean())


def test_windows_join_better_than_clips_of_their_own() -> None:
    model = make_model()
    smooth: Any = Drifting(prediction="v")
    joined = VideoModel("fake", smooth, model.defaults, model.device)
    jumps, strangers = [], []
    for seed in range(3):
        before, after = frames_of(joined, 2, steps=16, overlap=1, seed=seed)
        [alone] = frames_of(joined, 1, steps=16, seed=seed + 10)
        jumps.append(np.abs(after[0].astype(float) - before[-1]).mean())
        strangers.append(np.abs(alone[0].astype(float) - before[-1]).mean())
    assert np.mean(jumps) < 0.6 * np.mean(strangers)


def test_noise_is_carried_over() -> None:
    start = torch.arange(5.0).view(1, 1, 5, 1, 1)
    after = carried(start, 2, Noise.from_seeds([0])).flatten().tolist()
    assert after[:2] == [3, 4]
    assert sorted(after) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 0}, "overlap: got 0, expected 1 to 2"),
        ({"overlap": FRAMES}, "overlap: got 3"),
        ({"steps": 0}, "steps: got 0"),
        ({"steps": 1}, "a stream needs 2 or more"),
        ({"prompt": " "}, "it is empty"),
        ({"seed": -(2**63) - 1}, "seed: got -9223372036854775809"),
        ({"overlap": 1.5}, "overlap: got 1.5, expected a whole number"),
        ({"frames": 8}, "frames: a stream takes steps, size, stochasticity; leave out 'frames'"),
        ({"loop": True}, "loop: a stream takes"),
    ],
)
def test_wrong_values_are_told_before_the_first_window(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_model().stream(**{"prompt": "a fox", **options})


def test_teachers_and_autoencoders_of_whole_clips_are_refused() -> None:
    with pytest.raises(UserError, match="is a teacher"):
        make_model("teacher").stream("a fox")
    model = make_model()
    backbone: Any = model.backbone
    backbone.spec = make_spec(temporal_factor=4)
    with pytest.raises(UserError, match="windows cannot follow each other"):
        model.stream("a fox")
