"""Attention of video networks with text states held once per prompt.

A stock `UNetMotionModel` is given its text states once per frame and projects them to the same
keys and values for each. Here the queries of all frames of a clip attend to one copy.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

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


def attend(query_bhld: Tensor, key_bhmd: Tensor, value_bhmd: Tensor) -> Tensor:
    """Return softmax(q kᵀ / √d) v, by the kernel that suits the shape and the device.

    On a CPU the fused kernel pays off from some hundred keys on; over the 16 frames of a clip the
    plain products were 9 times as fast with their gradients in bfloat16.
    """
    if query_bhld.device.type != "cpu" or key_bhmd.shape[-2] > _SHORT:
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
