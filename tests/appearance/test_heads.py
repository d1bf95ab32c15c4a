import pytest
import torch

from mcm.appearance.heads import Layout, LevelHead, reductions


@pytest.mark.parametrize(("stride", "count"), [(4, 2), (8, 1), (14, 0), (16, 0), (32, 0)])
def test_reductions_reach_sixteen_pixels(stride: int, count: int) -> None:
    assert reductions(stride) == count


@pytest.mark.parametrize("layout", ["map", "tokens"])
def test_halving_the_grid_quarters_the_logits(layout: Layout) -> None:
    features, text = torch.randn(2, 5, 16, 16), torch.randn(2, 7)
    for halvings, logits in ((0, 256), (1, 64), (2, 16)):
        assert LevelHead(5, 7, 8, halvings, layout)(features, text).shape == (2, logits)


@pytest.mark.parametrize("layout", ["map", "tokens"])
def test_text_is_conditioned_on_by_inner_product(layout: Layout) -> None:
    torch.manual_seed(0)
    head = LevelHead(5, 7, 8, 0, layout).eval()
    features, text = torch.randn(3, 5, 4, 4), torch.randn(3, 7)
    plain = head(features, torch.zeros(3, 7))
    plus, minus = head(features, text), head(features, -text)
    torch.testing.assert_close((plus + minus) / 2, plain, atol=1e-6, rtol=1e-5)
    assert (plus - plain).abs().max() > 1e-2


def test_text_scale_does_not_matter() -> None:
    head = LevelHead(5, 7, 8, 0, "map").eval()
    features, text = torch.randn(2, 5, 4, 4), torch.randn(2, 7)
    torch.testing.assert_close(
        head(features, text), head(features, 30 * text), atol=1e-4, rtol=1e-4
    )


def test_every_convolution_has_unit_spectral_norm() -> None:
    torch.manual_seed(0)
    head = LevelHead(5, 7, 8, 1, "map")
    for _ in range(30):
        head(torch.randn(1, 5, 8, 8), torch.randn(1, 7))
    head.eval()
    layers = [m for m in head.modules() if hasattr(m, "parametrizations")]
    assert len(layers) == 5
    for layer in layers:
        assert isinstance(layer.weight, torch.Tensor)
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        torch.testing.assert_close(norm, torch.tensor(1.0), atol=0.02, rtol=0)
