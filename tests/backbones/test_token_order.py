from typing import Any

import pytest
import torch
from diffusers import UNet3DConditionModel, UNetMotionModel
from torch import Tensor, nn

from mcm.backbones.token_order import use_token_order


def networks() -> dict[str, nn.Module]:
    sizes: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "cross_attention_dim": 8,
        "norm_num_groups": 4,
    }
    return {
        "modelscope": UNet3DConditionModel(
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            attention_head_dim=4,
            **sizes,
        ),
        "animatediff": UNetMotionModel(
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
            num_attention_heads=2,
            motion_num_attention_heads=2,
            **sizes,
        ),
    }


def watch(network: nn.Module) -> list[str]:
    """Return the names of linear layers that are given tokens in another order, as they run."""
    seen: list[str] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            if not (inputs[0] if inputs else named["input"]).is_contiguous():
                seen.append(name)

        return hook

    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(look(name), with_kwargs=True)
    return seen


@pytest.mark.parametrize("family", ["modelscope", "animatediff"])
@torch.no_grad()
def test_linear_layers_get_tokens_in_order_and_values_stay(family: str) -> None:
    network = networks()[family].eval()
    out_of_order = watch(network)
    inputs = (torch.randn(1, 4, 6, 8, 8), torch.tensor([5]), torch.randn(6, 7, 8))
    if family == "modelscope":
        inputs = (*inputs[:2], inputs[2][:1])
    expected = network(*inputs).sample
    assert out_of_order
    out_of_order.clear()
    use_token_order(network)
    torch.testing.assert_close(network(*inputs).sample, expected, atol=1e-5, rtol=1e-5)
    assert out_of_order == []
