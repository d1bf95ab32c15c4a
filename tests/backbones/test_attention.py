import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from mcm.backbones.attention import FoldedAttention, attend, use_shaped_attention


def test_states_of_a_prompt_serve_all_its_frames() -> None:
    layer = Attention(query_dim=12, cross_attention_dim=10, heads=2, dim_head=6)
    frames, states = torch.randn(2 * 4, 9, 12), torch.randn(2, 5, 10)
    layer.set_processor(AttnProcessor2_0())
    expected = layer(frames, states.repeat_interleave(4, 0))
    layer.set_processor(FoldedAttention())
    torch.testing.assert_close(layer(frames, states), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        layer(frames, states.repeat_interleave(4, 0)), expected, atol=1e-6, rtol=1e-5
    )


def test_keys_and_values_are_computed_once_per_prompt() -> None:
    layer = Attention(query_dim=12, cross_attention_dim=10, heads=2, dim_head=6)
    layer.set_processor(FoldedAttention())
    seen = []
    layer.to_k.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    layer(torch.randn(2 * 4, 9, 12), torch.randn(2, 5, 10))
    assert seen == [(2, 5, 12)]


def test_self_attention_stays_within_a_sequence() -> None:
    layer = Attention(query_dim=12, heads=2, dim_head=6)
    x = torch.randn(7, 9, 12)
    layer.set_processor(AttnProcessor2_0())
    expected = layer(x)
    layer.set_processor(FoldedAttention())
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_every_length_and_machine_takes_a_kernel_that_agrees(
    tiles: bool, dtype: torch.dtype, atol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcm.backbones.attention.cpu_has_tiles", lambda: tiles)
    query, key, value = (torch.randn(2, 3, length, 8) for length in (5, 700, 700))
    for keys in (16, 700):
        expected = torch.softmax(query @ key[..., :keys, :].mT / 8**0.5, -1) @ value[..., :keys, :]
        given = (query, key[..., :keys, :], value[..., :keys, :])
        seen = attend(*(states.to(dtype) for states in given))
        assert seen.dtype == dtype
        torch.testing.assert_close(seen.float(), expected, atol=atol, rtol=atol)


def test_a_transformer_attends_as_with_its_stock_processor() -> None:
    network = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=14,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
    )
    for name, parameter in network.named_parameters():
        if "norm_" in name:
            parameter.data.uniform_(0.5, 1.5)
    x, t, text = torch.randn(2, 4, 3, 8, 4), torch.tensor([999.0, 3.0]), torch.randn(2, 6, 8)
    results = []
    for _ in range(2):
        network.zero_grad()
        sample = network(x, t, text).sample
        sample.square().sum().backward()
        results.append([sample.detach(), *(p.grad for p in network.parameters())])
        use_shaped_attention(network)
    for ours, stock in zip(*results, strict=True):
        torch.testing.assert_close(ours, stock, atol=1e-3, rtol=1e-4)
