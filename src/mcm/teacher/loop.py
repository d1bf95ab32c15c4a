"""The loop that trains every part of the embedded teacher: resumable, logged, averaged."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from mcm.errors import UserError
from mcm.interrupts import EXIT_CODE, stop_requests
from mcm.progress import progress
from mcm.teacher.optimizers import optimizers_for

Batch = Any
Optimizers = Sequence[torch.optim.Optimizer]


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to learn.

    Attributes:
        steps: Optimiser steps of the whole run.
        lr: Peak learning rate; warmed up linearly, then cosine to a tenth.
        warmup: Warm-up steps.
        weight_decay: Decoupled weight decay.
        muon: Move the matrices of hidden layers by Muon, all else by AdamW.
        ema_decay: Decay of the averaged weights that are shipped.
        grad_clip: Largest gradient norm.
        save_minutes: Minutes between checkpoints.
        log_every: Steps between rows of the log.
        seed: Seed of initialisation and data.
    """

    steps: int
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    muon: bool = False
    ema_decay: float = 0.999
    grad_clip: float = 1.0
    save_minutes: float = 4.0
    log_every: int = 50
    seed: int = 0


def learning_rate(step: int, config: LoopConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine to a tenth."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


class Average:
    """Exponential moving average of a module's trainable parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {
            name: parameter.detach().clone()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Blend the current weights in; young averages forget faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(module.named_parameters())
        names = list(self.values)
        torch._foreach_lerp_(
            [self.values[name] for name in names],
            [parameters[name].detach() for name in names],
            1 - decay,
        )

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the averaged weights into a module."""
        parameters = dict(module.named_parameters())
        for name, value in self.values.items():
            parameters[name].copy_(value)


def train(
    module: nn.Module,
    loss_of: Callable[[Batch], dict[str, Tensor]],
    batches_from: Callable[[int], Iterable[Batch]],
    config: LoopConfig,
    folder: Path,
    minutes: float | None = None,
    factor_of: Callable[[str], float] = lambda name: 1.0,
) -> int:
    """Train a module and leave its averaged weights in it.

    Args:
        module: Holds the parameters that learn.
        loss_of: Losses of a batch; they are summed.
        batches_from: Batches from a step on; a pure function of the step.
        config: The schedule.
        folder: Holds ``state.pt`` and ``log.csv``; a run found there is resumed.
        minutes: Stop (and save) after this time even if steps remain.
        factor_of: Factor of the learning rate by name of a parameter.

    Returns:
        The number of steps done so far.

    Raises:
        UserError: The run found there trains other weights.
        SystemExit: Code 130, when Ctrl-C or SIGTERM ended the run; it was saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizers = optimizers_for(module, config.lr, config.weight_decay, config.muon, factor_of)
    average = Average(module, config.ema_decay)
    step, seconds = _resume(module, optimizers, average, folder)
    _trim_log(folder, step)
    saved, past = time.monotonic(), defaultdict[str, list[float]](list)
    start = saved - seconds  # as if the run had never stopped
    limit = minutes * 60 if minutes else math.inf
    bar_of = progress("train", config.steps, done=step, seconds=minutes and limit)
    with stop_requests() as stop, bar_of as bar:
        for batch in batches_from(step):
            if stop.asked or step >= config.steps or time.monotonic() - start > seconds + limit:
                break
            _set_rates(optimizers, learning_rate(step, config))
            losses = loss_of(batch)
            _descend(losses, parameters, optimizers, config.grad_clip)
            step += 1
            average.update(module, step)
            bar.advance()
            for name, value in losses.items():
                past[name].append(float(value.detach()))
            if step % config.log_every == 0:
                _log(folder, step, time.monotonic() - start, past)
            if time.monotonic() - saved > config.save_minutes * 60:
                _save(module, optimizers, average, folder, step, time.monotonic() - start)
                saved = time.monotonic()
        _save(module, optimizers, average, folder, step, time.monotonic() - start)
    _tell_end(stop.asked, step, config.steps)
    average.copy_to(module)
    return step


def _tell_end(interrupted: bool, step: int, steps: int) -> None:
    """Say what is left of a run.

    Raises:
        SystemExit: Code 130, when it was interrupted.
    """
    if interrupted:
        print(f"interrupted at step {step}; saved, the same command goes on", file=sys.stderr)
        raise SystemExit(EXIT_CODE)
    if step < steps:
        print(f"step {step} of {steps}; the same command goes on", file=sys.stderr)


def _descend(
    losses: dict[str, Tensor],
    parameters: Sequence[nn.Parameter],
    optimizers: Optimizers,
    grad_clip: float,
) -> None:
    """Take one optimiser step down the sum of the losses."""
    torch.stack(list(losses.values())).sum().backward()
    torch.nn.utils.clip_grad_norm_(parameters, grad_clip, error_if_nonfinite=True)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _set_rates(optimizers: Optimizers, lr: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * lr


def averaged(module: nn.Module, folder: Path) -> int:
    """Load the averaged weights of a run into a module and return the run's step."""
    state = torch.load(folder / "state.pt", weights_only=True)
    average = Average(module, 0.0)
    average.values = state["average"]
    average.copy_to(module)
    return int(state["step"])


def _resume(
    module: nn.Module, optimizers: Optimizers, average: Average, folder: Path
) -> tuple[int, float]:
    path = folder / "state.pt"
    if not path.is_file():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if _shapes(state["average"]) != _shapes(average.values):
        raise UserError(
            f"{path}: a run that trains other weights; give another output folder, or the options "
            "with which this one began"
        )
    module.load_state_dict(state["module"], strict=False)
    for optimizer, past in zip(optimizers, state["optimizers"], strict=True):
        factors = [group["factor"] for group in optimizer.param_groups]
        optimizer.load_state_dict(past)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["factor"] = factor
    average.values = state["average"]
    return int(state["step"]), float(state["seconds"])


def _shapes(values: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in values.items()}


def _save(
    module: nn.Module,
    optimizers: Optimizers,
    average: Average,
    folder: Path,
    step: int,
    seconds: float,
) -> None:
    learned = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    state = {
        "module": learned,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "average": average.values,
        "step": step,
        "seconds": seconds,
    }
    part = folder / "state.part"
    torch.save(state, part)
    os.replace(part, folder / "state.pt")


def _trim_log(folder: Path, step: int) -> None:
    """Drop the rows that a broken run wrote after its last checkpoint."""
    path = folder / "log.csv"
    if path.is_file():
        head, *rows = path.read_text().splitlines()
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
        path.write_text("\n".join([head, *kept]) + "\n")


def _log(folder: Path, step: int, seconds: float, past: dict[str, list[float]]) -> None:
    """Log the means of the losses since the last row or the resumption, and forget them."""
    losses = {name: fmean(values) for name, values in past.items()}
    path = folder / "log.csv"
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["step", "seconds", *losses])
        writer.writerow([step, f"{seconds:.1f}", *(f"{value:.6g}" for value in losses.values())])
    text = "  ".join(f"{name} {value:.4g}" for name, value in losses.items())
    print(f"step {step}  {seconds:.0f} s  {text}", flush=True)
    past.clear()
