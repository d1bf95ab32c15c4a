"""Head and critic of an earlier run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mcm.distillation.objective import MotionConsistency
from mcm.distillation.student import read_auxiliary, write_auxiliary
from mcm.errors import UserError
from mcm.settings import Recipe


@pytest.fixture
def earlier(
    recipe_of: Callable[..., Recipe],
    objective_of: Callable[[Recipe], MotionConsistency],
    tmp_path: Path,
) -> tuple[MotionConsistency, Path]:
    """An objective that learnt, and the folder of its student."""
    objective = objective_of(recipe_of(trainer={"seed": 5}))
    with torch.no_grad():
        for parameter in objective.head.parameters():
            parameter.add_(torch.randn_like(parameter))
    write_auxiliary(objective.weights(), tmp_path / "run" / "auxiliary")
    return objective, tmp_path / "run" / "student"


def test_head_and_critic_go_on(
    earlier: tuple[MotionConsistency, Path],
    recipe_of: Callable[..., Recipe],
    objective_of: Callable[[Recipe], MotionConsistency],
) -> None:
    before, folder = earlier
    objective = objective_of(recipe_of())
    read_auxiliary(objective, folder)
    ours, theirs = objective.weights(), before.weights()
    for name in theirs:
        if name.startswith(("head.", "critic.")):
            assert torch.equal(ours[name], theirs[name]), name
        if name.startswith("head."):
            target = name.replace("head.", "head_target.", 1)
            assert torch.equal(ours[target], theirs[name])


def test_what_does_not_fit_is_named(
    earlier: tuple[MotionConsistency, Path],
    recipe_of: Callable[..., Recipe],
    objective_of: Callable[[Recipe], MotionConsistency],
) -> None:
    _, folder = earlier
    critic = {"width": 16, "weight": 0.1, "backbone": "scratch"}
    wider = objective_of(recipe_of(critic=critic))
    with pytest.raises(UserError, match=r"init_auxiliary: the critic .* another configuration: cr"):
        read_auxiliary(wider, folder)
    file = folder.parent / "auxiliary" / "head.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"head.safetensors: broken or half-downloaded"):
        read_auxiliary(wider, folder)
    file.unlink()
    with pytest.raises(UserError, match=r"there is no .*head.safetensors"):
        read_auxiliary(wider, folder)
