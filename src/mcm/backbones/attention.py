"""Attention of video networks: text states held once per prompt, kernels that suit the machine.

A stock `UNetMotionModel` is given its text states once per frame and projects them to the same
keys and values for each. Here the queries of all frames of a clip attend to one copy.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcm.devices import cpu_has_tiles

_SHORT = 512


class FoldedAttention:
    """A diffusers attention processor for self-attention and for cross-attention to prompts.

    With text states of b prompts and b·t frames of queries, the t frames of a prompt are folded
    into one sequence. Text states that were repeated per frame give the same result.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend within ``hidden_states`` (n, l, c), or from it to text states (b, m, d)."""
        assert attention_mask is None, "masks are not used by the image and motion layers"
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        folded = hidden_states.reshape(context.shape[0], -1, hidden_states.shape[-1])
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (attn.to_q(folded), attn.to_k(context), attn.to_v(context))
        )
        mixed = attend(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return result.reshape(*hidden_states.shape[:2], -1)


class ShapedAttention:
    """What `WanAttnProcessor` of diffusers computes from text alone, by :func:`attend`."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attend within ``hidden_states`` (b, l, c), or from it to text states (b, m, d)."""
        assert attention_mask is None and attn.add_k_proj is None, "made from text alone"
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (
                attn.norm_q(attn.to_q(hidden_states)),
                attn.norm_k(attn.to_k(context)),
                attn.to_v(context),
            )
        )
        if rotary_emb is not None:
            query, key = (rotate(states, *rotary_emb).type_as(value) for states in (query, key))
        mixed = attend(query.type_as(value), key.type_as(value), value)
        result: Tensor = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))
        return result


def rotate(x_bhld: Tensor, cos_1l1d: Tensor, sin_1l1d: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels by an angle of its position (Su et al., RoFormer).

    Args:
        x_bhld: Queries or keys.
        cos_1l1d: Cosines, the same for both channels of a pair.
        sin_1l1d: Sines, as the cosines.
    """
    cos, sin = (table.transpose(1, 2)[..., ::2] for table in (cos_1l1d, sin_1l1d))
    first, second = x_bhld.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], -1)
    return turned.flatten(-2)


def attend(query_bhld: Tensor, key_bhmd: Tensor, value_bhmd: Tensor) -> Tensor:
    """Return softmax(q kᵀ / √d) v, by the kernel that suits the shape and the device.

    On a CPU with AMX the fused kernel pays off from some hundred keys on in bfloat16; over the 16
    frames of a clip the plain products were 9 times as fast with their gradients. In float32, and
    without AMX (AVX2), the fused kernel is the faster one at all lengths: 1.1 to 2.9 times.
    """
    tiled = query_bhld.device.type == "cpu" and query_bhld.dtype == torch.bfloat16
    if not (tiled and key_bhmd.shape[-2] <= _SHORT and cpu_has_tiles()):
        return F.scaled_dot_product_attention(query_bhld, key_bhmd, value_bhmd)
    scores = (query_bhld * query_bhld.shape[-1] ** -0.5) @ key_bhmd.transpose(-1, -2)
    mixed: Tensor = scores.softmax(-1).to(value_bhmd.dtype) @ value_bhmd
    return mixed


def use_folded_attention(network: nn.Module) -> None:
    """Set the processor on every attention layer of a diffusers network; it holds no weights."""
    from diffusers.models.attention_processor import Attention

    processor = FoldedAttention()
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(processor)


def use_shaped_attention(network: nn.Module) -> None:
    """Set the processor on every attention layer of a `WanTransformer3DModel`."""
    from diffusers.models.transformers.transformer_wan import WanAttention

    processor = ShapedAttention()
    for module in network.modules():
        if isinstance(module, WanAttention):
            module.set_processor(processor)
