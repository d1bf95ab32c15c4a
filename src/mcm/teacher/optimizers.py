"""What moves weights: AdamW, and Muon for hidden matrices.

Muon makes all singular values of an update alike:
Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; the scale of the
update is that of Liu et al., *Muon is Scalable for LLM Training*, 2025 (arXiv 2502.16982), with
which learning rates and weight decays of AdamW stay right. `torch.optim.Muon` takes no kernels of
convolutions, of which a UNet is made; here they are matrices of output channels by all else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mcm.devices import pick_dtype

_EDGES = re.compile(
    r"(network\.)?(conv_in|conv_out|patch_embedding|proj_out)\.|(maps|words|own)\.|.*_table$"
)
"""Names of the first and last layers, and of tables: no maps between hidden states."""

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_RMS_OF_ADAMW = 0.2


def orthogonalised(matrix_nij: Tensor) -> Tensor:
    """Return matrices (n, i, j) with singular values near 1, by Newton and Schulz's iteration.

    Args:
        matrix_nij: Computed in bfloat16 where the device has it built in.
    """
    dtype = pick_dtype("auto", matrix_nij.device)
    tall = matrix_nij.shape[-2] > matrix_nij.shape[-1]
    x = (matrix_nij.mT if tall else matrix_nij).to(dtype)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrix_nij.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, at the step size of AdamW.

    Args:
        params: Parameters of two or more dimensions, or groups of them.
        lr: Learning rate, as AdamW's.
        momentum: Decay of Nesterov's momentum.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "losses are computed once a step"
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for parameters in alike.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update parameters of one shape together."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        for parameter in parameters:
            if parameter not in self.state:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        keep = group["momentum"]
        torch._foreach_lerp_(momenta, gradients, 1 - keep)
        ahead = torch._foreach_lerp(gradients, momenta, keep)
        matrices = torch.stack([direction.flatten(1) for direction in ahead])
        size = _RMS_OF_ADAMW * max(matrices.shape[-2:]) ** 0.5
        updates = orthogonalised(matrices).view(len(parameters), *parameters[0].shape)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(updates), alpha=-group["lr"] * size)


def optimizers_for(
    module: nn.Module,
    lr: float,
    weight_decay: float,
    muon: bool,
    factor_of: Callable[[str], float],
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of what learns in a module.

    Args:
        module: Holds the parameters.
        lr: Learning rate at a factor of 1.
        weight_decay: Decoupled weight decay.
        muon: Move the matrices of hidden layers by Muon.
        factor_of: Factor of the learning rate by name of a parameter; groups keep it as
            ``factor``.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            hidden = muon and parameter.ndim >= 2 and not _EDGES.match(name)
            groups.setdefault((hidden, factor_of(name)), []).append(parameter)

    def of(kind: bool) -> list[dict[str, Any]]:
        return [
            {"params": parameters, "factor": factor, "lr": factor * lr}
            for (hidden, factor), parameters in groups.items()
            if hidden == kind
        ]

    found: list[torch.optim.Optimizer] = []
    if of(False):
        found.append(torch.optim.AdamW(of(False), lr, weight_decay=weight_decay, fused=True))
    if of(True):
        found.append(Muon(of(True), lr, weight_decay=weight_decay))
    return found
