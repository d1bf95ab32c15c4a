"""Recomputing parts of a network in the backward pass instead of keeping their states."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn

from mcm.backbones.variants import Variants

Recompute = Callable[..., Any]


def checkpoint_function(variants: Variants) -> Recompute:
    """Return a gradient-checkpointing function for diffusers' networks.

    The recomputation in the backward pass runs at the variant of the forward pass, whichever is
    active by then.
    """

    def run(module: Callable[..., Any], *args: Any) -> Any:
        active = variants.active
        return torch.utils.checkpoint.checkpoint(
            module,
            *args,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), variants.using(active)),
        )

    return run


def checkpoint_module(module: nn.Module, recompute: Recompute) -> None:
    """Make a module recompute itself, for networks that diffusers cannot checkpoint.

    A copy of the module recomputes itself as well, not the original.
    """
    holder: Any = module
    holder.recompute = recompute
    holder.forward = MethodType(_recomputed, module)


def _recomputed(module: Any, *args: Any, **kwargs: Any) -> Any:
    forward = partial(type(module).forward, module, **kwargs)
    return module.recompute(forward, *args) if torch.is_grad_enabled() else forward(*args)
