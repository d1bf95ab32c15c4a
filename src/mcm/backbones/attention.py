"""Attention of video networks with text states held once per prompt.

A stock `UNetMotionModel` is given its text states once per frame and projects them to the same
keys and values for each. Here the queries of all frames of a clip attend to one copy.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


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
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return result.reshape(*hidden_states.shape[:2], -1)


def use_folded_attention(network: nn.Module) -> None:
    """Set the processor on every attention layer of a diffusers network; it holds no weights."""
    from diffusers.models.attention_processor import Attention

    processor = FoldedAttention()
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(processor)
