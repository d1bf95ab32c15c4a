"""What a network holds in its middle: a teacher's features, for a critic.

Reference: Sauer et al., LADD, 2024 (arXiv 2403.12015): a diffusion model's own features of noised
latents judge better than a network of pictures does, at every noise level another scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def feature_width(network: Any) -> int:
    """Return the channels of a stock network's features."""
    config = network.config
    if "block_out_channels" in config:
        return int(config["block_out_channels"][-1])
    return int(config["num_attention_heads"] * config["attention_head_dim"])


def middle(network: Any) -> nn.Module:
    """Return what gives the features: a UNet's middle block, or a transformer's middle one."""
    block: nn.Module | None = getattr(network, "mid_block", None)
    if block is None:
        blocks = network.blocks if hasattr(network, "blocks") else network.transformer_blocks
        block = blocks[(len(blocks) - 1) // 2]
    return block


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[list[Any]]:
    """Collect what modules return inside the context."""
    seen: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        for module in modules
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def as_clip(states: Any, like_bcthw: Tensor, patch: int) -> Tensor:
    """Return features as a clip (b, c, t, h, w), float32.

    Args:
        states: Of a UNet (b·t, c, h, w); of a transformer (b, t·h·w, c), perhaps the first of
            several.
        like_bcthw: The latents that the network was given.
        patch: Latent positions to one token, along height or width.
    """
    held: Tensor = states[0] if isinstance(states, tuple) else states
    if held.dim() == 4:
        clip: Tensor = held.float().unflatten(0, (len(like_bcthw), -1)).transpose(1, 2)
    else:
        rows, columns = (side // patch for side in like_bcthw.shape[-2:])
        clip = held.float().transpose(1, 2).unflatten(2, (-1, rows, columns))
    return clip
