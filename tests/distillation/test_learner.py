import math

import pytest
import torch

from mcm.distillation.learner import MOST_SKIPS, NonFiniteGuard, learning_rate
from mcm.errors import UserError
from mcm.settings import OptimizerSection


def test_warm_up_then_cosine() -> None:
    section = OptimizerSection(lr=2.0, schedule="cosine", warmup_steps=4)
    rates = [learning_rate(step, section, 24) for step in range(25)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[14] == pytest.approx(1.0)
    assert rates[24] == pytest.approx(0.0)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_constant_after_warm_up() -> None:
    section = OptimizerSection(lr=2.0, warmup_steps=1)
    assert [learning_rate(step, section, 9) for step in (0, 1, 8)] == [2.0, 2.0, 2.0]


def test_guard_counts_and_gives_up_after_ten_in_a_row() -> None:
    guard = NonFiniteGuard()
    for step in range(MOST_SKIPS - 1):
        assert not guard.admit({"loss": math.nan, "norm": 1.0}, step)
    assert guard.admit({"loss": 0.0, "norm": 1.0}, 9)
    assert (guard.total, guard.in_a_row) == (MOST_SKIPS - 1, 0)
    with pytest.raises(UserError, match=r"grad_norm/student not finite in 10 .* optimizer.lr"):
        for step in range(MOST_SKIPS):
            guard.admit({"grad_norm/student": math.inf}, step)


def test_groups_have_their_own_settings(trainer_of, recipe_of) -> None:
    recipe = recipe_of(
        optimizer={"lr": 1e-2, "weight_decay": 0.1},
        motion={"head_lr": 3e-3},
        critic={"lr": 5e-4, "betas": [0.5, 0.9]},
    )
    learner = trainer_of(recipe).learner
    learner.set_rates(0)
    groups = {group["name"]: group for group in learner.optimizer.param_groups}
    found = {name: (g["lr"], g["weight_decay"], tuple(g["betas"])) for name, g in groups.items()}
    assert found == {
        "student": (1e-2, 0.1, (0.9, 0.999)),
        "head": (3e-3, 0.0, (0.9, 0.999)),
        "critic": (5e-4, 0.0, (0.5, 0.9)),
    }


def test_each_group_is_clipped_by_itself(trainer_of, recipe_of) -> None:
    learner = trainer_of(recipe_of(optimizer={"grad_clip": 0.5})).learner
    for scale, parameters in enumerate(learner.groups.values(), start=1):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, scale * 1e-4 if scale == 1 else 1.0)
    norms = learner.clip()
    assert norms["grad_norm/student"] < 0.5 < norms["grad_norm/critic"]
    clipped = {
        name: torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        for name, parameters in learner.groups.items()
    }
    assert clipped["student"] == pytest.approx(float(norms["grad_norm/student"]))
    assert float(clipped["critic"]) == pytest.approx(0.5, rel=1e-3)


def test_a_gradient_that_no_sample_reached_is_zero(trainer_of, recipe_of) -> None:
    learner = trainer_of(recipe_of()).learner
    parameters = [p for group in learner.groups.values() for p in group]
    parameters[0].grad = torch.ones_like(parameters[0])
    gradients = learner.gradients()
    assert [g.shape for g in gradients] == [p.shape for p in parameters]
    assert gradients[0].all()
    assert not any(gradient.any() for gradient in gradients[1:])
