import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mcm.appearance.augment import (
    TRANSFORMS,
    augment,
    brightness,
    check_policy,
    contrast,
    crop,
    cutout,
    fit,
    saturation,
    translation,
)
from mcm.errors import UserError

POLICY = ("color", "translation", "cutout")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(batch: int = 4, height: int = 24, width: int = 16) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=seeded(9)) * 2 - 1


@pytest.mark.parametrize("name", TRANSFORMS)
def test_same_seed_same_result_other_seed_other_result(name: str) -> None:
    first = augment(frames(), (name,), seeded(1))
    assert torch.equal(first, augment(frames(), (name,), seeded(1)))
    assert not torch.equal(first, augment(frames(), (name,), seeded(2)))


def test_global_randomness_is_neither_used_nor_changed() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = augment(frames(), POLICY, seeded(1))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert torch.equal(first, augment(frames(), POLICY, seeded(1)))


def test_samples_of_a_batch_are_transformed_independently() -> None:
    same = frames(1).expand(4, -1, -1, -1)
    out = augment(same, POLICY, seeded())
    assert all(not torch.equal(out[0], out[i]) for i in (1, 2, 3))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradient_matches_finite_differences(name: str) -> None:
    x = frames(2, 8, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: augment(y, (name,), seeded(5)), (x,))


def test_empty_policy_is_the_identity() -> None:
    x = frames()
    assert augment(x, (), seeded()) is x


def test_brightness_shifts_a_frame_by_one_number_up_to_a_half() -> None:
    shift = brightness(frames(64), seeded()) - frames(64)
    torch.testing.assert_close(shift, shift[:, :1, :1, :1].expand_as(shift))
    assert shift.abs().max() <= 0.5
    assert shift.max() > 0.4 and shift.min() < -0.4


def test_saturation_keeps_grey_and_contrast_keeps_the_mean() -> None:
    x = frames()
    torch.testing.assert_close(saturation(x, seeded()).mean(1), x.mean(1))
    grey = x[:, :1].expand_as(x)
    torch.testing.assert_close(saturation(grey, seeded()), grey)
    torch.testing.assert_close(contrast(x, seeded()).mean((1, 2, 3)), x.mean((1, 2, 3)))


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_value_ranges(seed: int) -> None:
    x = frames()
    for transform in (translation, cutout):
        out = transform(x, seeded(seed))
        assert out.abs().max() <= x.abs().max()
    contrasted = contrast(x, seeded(seed))
    spread = (contrasted - contrasted.mean((1, 2, 3), keepdim=True)).abs().amax((1, 2, 3))
    original = (x - x.mean((1, 2, 3), keepdim=True)).abs().amax((1, 2, 3))
    assert ((spread >= 0.499 * original) & (spread <= 1.501 * original)).all()


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_translation_moves_by_at_most_an_eighth(seed: int) -> None:
    x = frames(1, 16, 16) + 3
    out = translation(x, seeded(seed))
    rows, columns = (out[0, 0] != 0).nonzero(as_tuple=True)
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    assert height >= 14 and width >= 14
    y, x0 = (16 - height if top == 0 else 0), (16 - width if left == 0 else 0)
    inside = x[..., y : y + height, x0 : x0 + width]
    assert torch.equal(out[..., top : top + height, left : left + width], inside)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_cutout_is_one_rectangle_of_at_most_a_quarter(seed: int) -> None:
    out = cutout(torch.ones(1, 3, 16, 16), seeded(seed))[0]
    assert torch.equal(out[0], out[1]) and torch.equal(out[0], out[2])
    rows, columns = (out[0] == 0).nonzero(as_tuple=True)
    height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert len(rows) == height * width
    assert 4 <= height <= 8 and 4 <= width <= 8


def test_crop_takes_each_samples_own_window() -> None:
    x = frames(2)
    out = crop(x, [0, 5], [3, 2], 8, 6)
    assert torch.equal(out[0], x[0, :, 0:8, 3:9])
    assert torch.equal(out[1], x[1, :, 5:13, 2:8])


def test_fit_keeps_small_frames_at_their_size() -> None:
    x = frames(2, 24, 16)
    assert fit(x, 32, 1, seeded()) is x
    assert fit(x, 24, 8, seeded()) is x


@pytest.mark.parametrize(("size", "multiple", "side"), [(12, 1, 12), (64, 14, 14), (12, 5, 10)])
def test_fit_gives_a_square_of_the_backbones_size(size: int, multiple: int, side: int) -> None:
    for seed in range(4):
        assert fit(frames(2, 24, 16), size, multiple, seeded(seed)).shape == (2, 3, side, side)


def test_fit_crops_or_averages() -> None:
    x = frames(1, 16, 16)
    halved = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    windows = x[0].unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 8, 8)
    averaged = 0
    for seed in range(20):
        out = fit(x, 8, 1, seeded(seed))
        if torch.allclose(out, halved, atol=1e-6):
            averaged += 1
        else:
            assert (windows == out).flatten(1).all(1).any()
    assert 4 <= averaged <= 16


def test_fit_is_differentiable() -> None:
    for seed in range(2):
        x = frames(1, 6, 5).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda y, s=seed: fit(y, 4, 1, seeded(s)), (x,))


def test_frames_smaller_than_a_patch_are_a_user_error() -> None:
    with pytest.raises(UserError, match="smaller than one patch"):
        fit(frames(1, 8, 8), 224, 14, seeded())


def test_unknown_transform_is_a_user_error_with_a_hint() -> None:
    with pytest.raises(UserError, match="Did you mean 'cutout'"):
        check_policy(("color", "cut-out"))
