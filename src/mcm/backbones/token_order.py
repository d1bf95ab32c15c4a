"""Feature maps in the order of the tokens that a transformer makes of them.

diffusers' attention blocks turn a normalised map into tokens by a view of other strides where they
can. A linear layer without gradient of its own multiplies such tokens as a batch of matrices, and
the CPU then writes its weights once for every sequence: 1.7 GiB at 4096 places and 320 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def use_token_order(network: nn.Module) -> None:
    """Let the norm before every linear ``proj_in`` give maps in the order of their tokens.

    Values stay the same. It is the norm that is followed, since an adapter stands in for a
    ``proj_in`` that it is put on.
    """
    for module in network.modules():
        norm, entry = getattr(module, "norm", None), getattr(module, "proj_in", None)
        if isinstance(norm, nn.GroupNorm) and isinstance(entry, nn.Linear):
            norm.register_forward_hook(_reorder)


def _reorder(module: nn.Module, inputs: Sequence[Any], map_bchw_or_bcthw: Tensor) -> Tensor:
    """Return the same map, so held that its tokens are contiguous.

    Tokens of an image (b, c, h, w) are its places; those of a clip (b, c, t, h, w) the frames of
    each place.
    """
    tokens_last = (0, 2, 3, 1) if map_bchw_or_bcthw.dim() == 4 else (0, 3, 4, 2, 1)
    back = (0, 3, 1, 2) if map_bchw_or_bcthw.dim() == 4 else (0, 4, 3, 1, 2)
    return map_bchw_or_bcthw.permute(tokens_last).contiguous().permute(back)
