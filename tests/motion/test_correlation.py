import pytest
import torch
from torch import Tensor

from mcm.motion.correlation import (
    OUTSIDE,
    global_correlation,
    local_correlation,
    scaled_global_correlation,
)

SHAPE = (2, 3, 3, 5, 4)


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def test_global_correlation_is_the_scalar_product_of_every_two_places(latents: Tensor) -> None:
    expected = torch.einsum("bctij,bctkl->btijkl", latents[:, :, :-1], latents[:, :, 1:])
    expected = expected.reshape(2, 2, 20, 20) / 3**0.5
    torch.testing.assert_close(global_correlation(latents), expected)
    torch.testing.assert_close(scaled_global_correlation(latents), expected * 5**0.5)


@pytest.mark.parametrize("radius", [1, 2, 7])
def test_local_correlation_is_the_global_one_within_the_window(
    latents: Tensor, radius: int
) -> None:
    local = local_correlation(latents, radius).view(2, 2, 5, 4, 2 * radius + 1, 2 * radius + 1)
    whole = global_correlation(latents).view(2, 2, 5, 4, 5, 4)
    for y in range(5):
        for x in range(4):
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    actual = local[:, :, y, x, dy + radius, dx + radius]
                    if 0 <= y + dy < 5 and 0 <= x + dx < 4:
                        torch.testing.assert_close(actual, whole[:, :, y, x, y + dy, x + dx])
                    else:
                        assert (actual == OUTSIDE).all()


def test_a_moved_dot_correlates_at_its_displacement() -> None:
    latents = torch.zeros(1, 1, 2, 9, 9)
    latents[0, 0, 0, 4, 4] = latents[0, 0, 1, 6, 3] = 1.0
    window = local_correlation(latents, radius=2)[0, 0, 4 * 9 + 4].view(5, 5)
    assert window.nonzero().tolist() == [[2 + 2, 2 - 1]]


def test_places_outside_the_frame_carry_no_gradient(latents: Tensor) -> None:
    local = local_correlation(latents.requires_grad_())
    outside = local == OUTSIDE
    (of_outside,) = torch.autograd.grad(local[outside].sum(), latents, retain_graph=True)
    (of_inside,) = torch.autograd.grad(local[~outside].sum(), latents)
    assert outside.any() and (of_outside == 0).all() and (of_inside != 0).all()
