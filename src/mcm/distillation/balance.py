"""Two losses on the same latents, of which the second may not pull harder than the first.

A critic that tells both sides apart at a glance gives a gradient that no longer says where real
frames are, and with a fixed weight it outruns the motion loss. VQGAN (Esser et al., 2021, arXiv
2012.09841, equation 7) weighs its critic by the ratio of gradients at the decoder's last layer;
here it is that at the student's clean latents, and only a bound.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pull(loss: Tensor, at: Tensor) -> Tensor:
    """Return ‖∂loss/∂at‖ and keep the graph for the backward pass.

    Args:
        loss: A scalar.
        at: What it depends on, such as clean latents.
    """
    length: Tensor = torch.autograd.grad(loss, at, retain_graph=True)[0].norm()
    return length


def held(loss: Tensor, at: Tensor, most: Tensor) -> Tensor:
    """Return a loss of the same value that pulls at a tensor no harder than a bound.

    Args:
        loss: A scalar; its graph down to ``at`` is used up.
        at: The only thing through which it will be differentiated.
        most: Largest norm of its gradient there.
    """
    gradient: Tensor = torch.autograd.grad(loss, at)[0]
    tiny = torch.finfo(gradient.dtype).tiny
    factor = (most / gradient.norm().clamp_min(tiny)).clamp(max=1)
    same: Tensor = loss.detach() + (factor * gradient * (at - at.detach())).sum()
    return same
