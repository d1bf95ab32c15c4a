"""Muon against PyTorch's own for matrices, on kernels, and what each optimiser moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mcm.teacher.loop import LoopConfig, train
from mcm.teacher.optimizers import Muon, optimizers_for, orthogonalised
from mcm.teacher.transformer import SupervisedTransformer, make_transformer


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_singular_values_become_alike(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.max() < 1.25
    assert values.median() > 0.6


def gradients(shape: tuple[int, ...], count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def moved(optimizer: torch.optim.Optimizer, weight: nn.Parameter, grads: list[Tensor]) -> Tensor:
    start = weight.detach().clone()
    for grad in grads:
        weight.grad = grad.clone()
        optimizer.step()
    return weight.detach() - start


def test_matrices_move_as_by_pytorch() -> None:
    grads = gradients((16, 40), 3)
    ours, theirs = (nn.Parameter(torch.ones(16, 40)) for _ in range(2))
    muon = torch.optim.Muon(
        [theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    found = moved(Muon([ours], lr=0.01, weight_decay=0.1), ours, grads)
    wanted = moved(muon, theirs, grads)
    assert (found - wanted).norm() < 0.03 * wanted.norm()


def test_kernels_move_as_the_matrices_that_they_are() -> None:
    grads = gradients((8, 4, 3, 3), 2)
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
    matrix = nn.Parameter(torch.zeros(8, 36))
    found = moved(Muon([kernel], lr=0.01), kernel, grads)
    wanted = moved(Muon([matrix], lr=0.01), matrix, [grad.flatten(1) for grad in grads])
    assert torch.equal(found.flatten(1), wanted)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Linear(3, 6)
        self.hidden = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.hidden(self.conv_in(x).tanh())
        return result


def test_only_hidden_matrices_are_muons() -> None:
    module = Small()
    adamw, muon = optimizers_for(module, 0.1, 0.0, True, lambda name: 0.5 if "in" in name else 1)
    assert isinstance(muon, Muon)
    assert [id(p) for g in muon.param_groups for p in g["params"]] == [id(module.hidden.weight)]
    assert {group["factor"]: group["lr"] for group in adamw.param_groups} == {0.5: 0.05, 1: 0.1}
    (alone,) = optimizers_for(module, 0.1, 0.0, False, lambda name: 1)
    assert isinstance(alone, torch.optim.AdamW)


def test_tables_and_ends_of_a_transformer_are_no_muons() -> None:
    module = SupervisedTransformer(make_transformer(4, heads=1, layers=2), (4, 4), (0,))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    optimizers = optimizers_for(module, 0.1, 0.0, True, lambda name: 1)
    kept, moved = ([names[id(p)] for g in o.param_groups for p in g["params"]] for o in optimizers)
    assert "network.blocks.0.attn1.to_q.weight" in moved
    assert all(name.startswith(("network.blocks", "network.condition")) for name in moved)
    ends = ("patch_embedding.weight", "proj_out.weight", "scale_shift_table")
    assert {f"network.{end}" for end in ends} | {"own.0.weight", "maps.0.weight"} <= set(kept)
    assert "network.blocks.1.scale_shift_table" in kept


def run(folder: Path, stop: int) -> Small:
    torch.manual_seed(0)
    module = Small()

    def losses(step: int) -> dict[str, Tensor]:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"error": (module(x)[:, :3] - x).square().mean()}

    config = LoopConfig(steps=60, lr=0.02, warmup=5, muon=True, ema_decay=0.9)
    train(module, losses, lambda first: range(first, stop), config, folder)
    return module


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 60)
    run(tmp_path / "broken", 23)
    resumed = run(tmp_path / "broken", 60)
    assert torch.equal(whole.hidden.weight, resumed.hidden.weight)
