from typing import get_args

import pytest
import torch

from mcm.errors import UserError
from mcm.motion import MotionHead, MotionRepresentation, make_motion

NAMES = get_args(MotionRepresentation)


@pytest.mark.parametrize("name", NAMES)
def test_a_representation_keeps_the_batch_and_treats_each_video_alone(
    name: MotionRepresentation,
) -> None:
    motion = make_motion(name, channels=3)
    x = torch.randn(3, 3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    together = motion(x)
    assert len(together) == 3
    torch.testing.assert_close(together[1:2], motion(x[1:2]))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_head_has_weights(name: MotionRepresentation) -> None:
    assert bool(list(make_motion(name, channels=4).parameters())) is (name == "learn")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_frame(name: MotionRepresentation) -> None:
    x = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = make_motion(name, channels=2)(x)
    y[y > -1e8].square().sum().backward()
    assert x.grad is not None and (x.grad.abs().amax(dim=(0, 1, 3, 4)) > 0).all()


def test_differences_forget_what_is_still() -> None:
    x = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    still = torch.randn(2, 3, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    diff = make_motion("diff", channels=3)
    torch.testing.assert_close(diff(x + still), diff(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(diff(x).sum(2), x[:, :, -1] - x[:, :, 0])


def test_an_unknown_representation_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"motion: 'leran' is unknown.*sgcor.*mean 'learn'"):
        make_motion("leran", channels=4)


def test_the_head_is_the_identity_before_training_and_learns() -> None:
    head = MotionHead(channels=4)
    x = torch.randn(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(x), x)
    head(x).square().sum().backward()
    assert head.conv_out.weight.grad is not None and head.conv_out.weight.grad.abs().max() > 0


def test_the_head_looks_at_each_frame_alone() -> None:
    head = MotionHead(channels=4)
    torch.nn.init.normal_(head.conv_out.weight)
    x = torch.randn(1, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, :, 1] += 1
    moved = (head(x) != head(changed)).flatten(3).any(-1).any(1)[0]
    assert moved.tolist() == [False, True, False]
