"""The training loop of the teacher: schedule, averages, resume."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mcm.errors import UserError
from mcm.teacher.loop import Average, LoopConfig, averaged, learning_rate, train


def loss_of(module: nn.Linear, step: int) -> dict[str, Tensor]:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return {"error": (module(x) - x.sum(1, keepdim=True)).square().mean()}


def run(folder: Path, steps: int, stop: int | None = None) -> nn.Linear:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    config = LoopConfig(steps=steps, lr=0.05, warmup=5, log_every=10, ema_decay=0.9)
    train(module, lambda n: loss_of(module, n), lambda n: range(n, stop or steps), config, folder)
    return module


def test_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    config = LoopConfig(steps=1000, lr=1.0, warmup=100)
    assert learning_rate(0, config) == pytest.approx(0.01)
    assert learning_rate(99, config) == pytest.approx(1.0)
    assert learning_rate(550, config) == pytest.approx(0.55, abs=0.01)
    assert learning_rate(1000, config) == pytest.approx(0.1)


def test_average_follows_its_closed_form() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = Average(module, decay=0.5)
    nn.init.ones_(module.weight)
    for step in range(100, 103):
        average.update(module, step)
    assert average.values["weight"].item() == pytest.approx(1 - 0.5**3)


def test_learns_and_logs(tmp_path: Path) -> None:
    module = run(tmp_path, 300)
    assert torch.allclose(module.weight, torch.ones(1, 3), atol=0.02)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(10, 301, 10))
    assert float(rows[-1]["error"]) < 0.1 * float(rows[0]["error"])


def test_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 60)
    run(tmp_path / "broken", 60, stop=23)
    log = tmp_path / "broken" / "log.csv"
    log.write_text(log.read_text() + "30,9,9\n")
    resumed = run(tmp_path / "broken", 60)
    steps = [int(row["step"]) for row in csv.DictReader(log.open())]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert torch.equal(whole.weight, resumed.weight)
    fresh = nn.Linear(3, 1)
    assert averaged(fresh, tmp_path / "broken") == 60
    assert torch.equal(fresh.weight, whole.weight)


def test_an_interrupted_run_is_saved_and_goes_on_as_if_it_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def losses(step: int) -> dict[str, Tensor]:
        if step == 22:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss_of(module, step)

    whole = run(tmp_path / "whole", 60)
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    config = LoopConfig(steps=60, lr=0.05, warmup=5, log_every=10, ema_decay=0.9)
    with pytest.raises(SystemExit) as ended:
        train(module, losses, lambda n: range(n, 60), config, tmp_path / "broken")
    assert ended.value.code == 130
    assert "interrupted at step 23; saved" in capsys.readouterr().err
    assert torch.equal(run(tmp_path / "broken", 60).weight, whole.weight)


def test_the_bar_shows_rate_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, 20)
    assert "train: 20/20 (100%)" in capsys.readouterr().err


def test_a_run_that_trains_other_weights_is_not_continued(tmp_path: Path) -> None:
    run(tmp_path, 60, stop=23)
    before = (tmp_path / "state.pt").read_bytes()
    other, config = nn.Linear(3, 1), LoopConfig(steps=60)
    other.bias.requires_grad_(False)
    with pytest.raises(UserError, match="trains other weights; give another output folder"):
        train(other, lambda n: loss_of(other, n), lambda n: range(n, 60), config, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_first_row_of_a_resumed_run_is_a_mean(tmp_path: Path) -> None:
    config = LoopConfig(steps=20, log_every=10)
    for stop in (7, 20):
        module = nn.Linear(1, 1)
        train(
            module,
            lambda _, m=module: {"one": 1 + 0 * m.weight.sum()},
            lambda n, last=stop: range(n, last),
            config,
            tmp_path,
        )
    rows = csv.DictReader((tmp_path / "log.csv").open())
    assert [float(row["one"]) for row in rows] == [1.0, 1.0]


def test_non_finite_gradient_stops_the_run(tmp_path: Path) -> None:
    module = nn.Linear(3, 1)
    with pytest.raises(RuntimeError, match="non-finite"):
        train(
            module,
            lambda _: {"error": module(torch.full((1, 3), torch.inf)).sum() * 0},
            lambda n: range(n, 5),
            LoopConfig(steps=5),
            tmp_path,
        )


def test_parameters_learn_at_their_own_rate(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    before = [layer.weight.clone() for layer in module]
    config = LoopConfig(steps=1, lr=0.1, warmup=1, weight_decay=0.0, ema_decay=0.0)
    train(
        module,
        lambda _: {"loss": module(torch.ones(1, 2)).square().mean()},
        lambda start: range(start, 2),
        config,
        tmp_path,
        factor_of=lambda name: 1.0 if name.startswith("0.") else 0.1,
    )
    moved = [
        float((layer.weight.detach() - old).abs().max())
        for layer, old in zip(module, before, strict=True)
    ]
    assert moved[1] == pytest.approx(0.1 * moved[0], rel=1e-3)


def test_a_resumed_run_takes_the_factors_it_is_given(tmp_path: Path) -> None:
    config = LoopConfig(steps=10, lr=0.05, warmup=1)
    module = nn.Linear(3, 1)

    def go(stop: int, factor: float) -> None:
        def factor_of(name: str) -> float:
            return factor if name == "weight" else 1.0

        def losses(step: int) -> dict[str, Tensor]:
            return loss_of(module, step)

        train(module, losses, lambda n: range(n, stop), config, tmp_path, factor_of=factor_of)

    go(3, 0.5)
    before = torch.load(tmp_path / "state.pt", weights_only=True)["module"]
    go(6, 0.0)
    after = torch.load(tmp_path / "state.pt", weights_only=True)["module"]
    assert torch.equal(before["weight"], after["weight"])
    assert not torch.equal(before["bias"], after["bias"])
