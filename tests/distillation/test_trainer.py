import os
import signal
from pathlib import Path

import pytest
import torch

from mcm.distillation import checkpoints
from mcm.distillation.callbacks import Report
from mcm.distillation.randomness import step_seed
from mcm.errors import UserError


class Witness:
    """Keeps the reports, and does something at a step."""

    def __init__(self, at: int = 0, action=None) -> None:
        self.reports: list[Report] = []
        self.closed, self.at, self.action = 0, at, action

    def after_step(self, report: Report) -> None:
        self.reports.append(report)
        if report.step == self.at:
            self.action()

    def close(self) -> None:
        self.closed += 1


def snapshot(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.objective.weights().items()}


def mean_loss(trainer) -> float:
    """Mean of the losses on the same batch and the same draws."""
    generators = (torch.Generator().manual_seed(seed) for seed in range(10))
    with torch.no_grad():
        losses = [trainer.objective.step(trainer.feed[0], g).total for g in generators]
    return float(torch.stack(losses).mean())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_learns_and_leaves_the_teacher_alone(trainer_of, recipe_of) -> None:
    recipe = recipe_of(
        trainer={"steps": 80, "batch_size": 4, "checkpoint_every": None},
        critic={"weight": 0.0},
        motion={"representation": "raw"},
        optimizer={"lr": 1e-2},
        trajectories={"real_fraction": 1.0},
    )
    trainer, witness = trainer_of(recipe), Witness()
    before = mean_loss(trainer)
    teacher = {
        n: p.detach().clone()
        for n, p in trainer.objective.backbone.variants.base.named_parameters()
    }
    trainer.run([witness])
    assert mean_loss(trainer) < 0.9 * before
    assert same(teacher, dict(trainer.objective.backbone.variants.base.named_parameters()))
    assert witness.closed == 1
    assert [report.last for report in witness.reports] == [False] * 79 + [True]


def test_same_seed_same_weights(trainer_of, recipe_of) -> None:
    first, second = trainer_of(recipe_of()), trainer_of(recipe_of())
    first.run()
    torch.rand(7)
    second.run()
    assert same(snapshot(first), snapshot(second))


def test_resumed_is_bit_identical(trainer_of, recipe_of, tmp_path: Path) -> None:
    whole = trainer_of(recipe_of(trainer={"output": str(tmp_path / "whole"), "steps": 6}))
    whole.run()
    recipe = recipe_of(trainer={"steps": 6, "checkpoint_every": 1, "keep_last": 9})
    trainer_of(recipe).run()
    for path in checkpoints.present(tmp_path / "out" / "checkpoints")[:-1]:
        torch.manual_seed(path.name.__hash__() % 1000)
        resumed = trainer_of(recipe)
        resumed.restore(checkpoints.load(path))
        assert resumed.step < 6
        resumed.run()
        assert same(snapshot(whole), snapshot(resumed))


def test_accumulation_sees_the_clips_of_one_larger_batch(trainer_of, recipe_of) -> None:
    recipe = recipe_of(trainer={"batch_size": 2, "gradient_accumulation": 3, "steps": 1})
    feed = trainer_of(recipe).feed
    together = trainer_of(recipe_of(trainer={"batch_size": 6})).feed
    parts = [feed[number].latents_bcthw for number in range(3)]
    assert torch.equal(torch.cat(parts), together[0].latents_bcthw)


def test_held_clips_are_never_trained_on(trainer_of, recipe_of) -> None:
    feed = trainer_of(recipe_of(trainer={"probe_clips": 8})).feed
    held = feed.held(8).latents_bcthw
    assert len(held) == 1
    seen = torch.cat([feed[number].latents_bcthw for number in range(22)])
    assert not (seen == held).flatten(1).all(1).any()


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nothing_moves_when_something_is_not_finite(
    trainer_of, recipe_of, monkeypatch, where: str
) -> None:
    trainer = trainer_of(recipe_of(trainer={"steps": 10}, critic={"weight": 0.0}))
    step = trainer.objective.step

    def poisoned(batch, generator):
        losses = step(batch, generator)
        if where == "gradient":
            losses.total.register_hook(lambda g: g * float("nan"))
            return losses
        return type(losses)(
            losses.total * float("nan"), {"motion": losses.total.detach() * float("nan")}
        )

    monkeypatch.setattr(trainer.objective, "step", poisoned)
    before = snapshot(trainer)
    with pytest.raises(UserError, match="not finite in 10 updates in a row"):
        trainer.run()
    assert same(before, snapshot(trainer))
    assert trainer.guard.total == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends(trainer_of, recipe_of, number: int) -> None:
    recipe = recipe_of(trainer={"steps": 6})
    trainer = trainer_of(recipe)
    before = signal.getsignal(number)
    witness = Witness(2, lambda: os.kill(os.getpid(), number))
    outcome = trainer.run([witness])
    assert (outcome.interrupted, outcome.step, witness.closed) == (True, 3, 1)
    assert [(seen.step, seen.last, seen.interrupted) for seen in witness.reports] == [
        (1, False, False),
        (2, False, False),
        (3, True, True),
    ]
    assert not any(seen.due(3) for seen in witness.reports)
    assert checkpoints.load(outcome.checkpoint).card.step == 3
    assert signal.getsignal(number) == before
    resumed = trainer_of(recipe)
    resumed.restore(checkpoints.load(outcome.checkpoint))
    assert resumed.run().step == 6


def test_a_signal_after_the_last_step_comes_too_late(trainer_of, recipe_of) -> None:
    witness = Witness(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    outcome = trainer_of(recipe_of(trainer={"steps": 2})).run([witness])
    assert (outcome.interrupted, outcome.step) == (False, 2)


def test_time_limit_ends_and_saves(trainer_of, recipe_of) -> None:
    outcome = trainer_of(recipe_of(trainer={"steps": 500, "max_minutes": 1e-9})).run()
    assert (outcome.step, outcome.interrupted) == (1, False)
    assert outcome.checkpoint.is_dir()


def test_a_finished_run_does_nothing_more(trainer_of, recipe_of) -> None:
    trainer = trainer_of(recipe_of(trainer={"steps": 2}))
    done = trainer.run()
    again = trainer_of(recipe_of(trainer={"steps": 2}))
    again.restore(checkpoints.load(done.checkpoint))
    witness = Witness()
    assert again.run([witness]).step == 2
    assert witness.reports == []


def test_callbacks_are_closed_when_the_loop_fails(trainer_of, recipe_of) -> None:
    def fail() -> None:
        raise OSError("broken")

    witness = Witness(1, fail)
    with pytest.raises(OSError, match="broken"):
        trainer_of(recipe_of()).run([witness])
    assert witness.closed == 1


def test_what_was_trained_is_saved_when_a_watcher_fails(trainer_of, recipe_of) -> None:
    def fail() -> None:
        raise OSError("broken")

    trainer = trainer_of(recipe_of(trainer={"checkpoint_every": None}))
    with pytest.raises(OSError, match="broken"):
        trainer.run([Witness(2, fail)])
    assert [path.name for path in checkpoints.present(trainer.folder)] == ["step-00000002"]


def test_seeds_of_steps_and_ranks_differ() -> None:
    seeds = {step_seed(s, n, r) for s in range(3) for n in range(50) for r in range(3)}
    assert len(seeds) == 450
    assert all(0 <= seed < 2**63 for seed in seeds)
