"""Numbers and pictures to a CSV file, TensorBoard or Weights & Biases."""

from __future__ import annotations

import csv
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcm.data.files import write_atomically
from mcm.distillation.callbacks import Log, Report

CSV_FILE = "log.csv"
WANDB_FILE = "wandb-id.txt"
CSV_FIELDS = ("step", "name", "value")


class CsvLog:
    """One row (step, name, value) for each number; easy to filter, and names may come and go."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open ``log.csv`` and drop the rows after ``step``, which a resumed run writes anew."""
        self.path = folder / CSV_FILE
        rows = self._rows() if self.path.is_file() else []
        kept = [",".join(row) for row in rows if int(row[0]) <= step]
        write_atomically(self.path, "\n".join([",".join(CSV_FIELDS), *kept, ""]).encode())

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers of a step."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows((step, name, f"{value:.6g}") for name, value in values.items())

    def picture(self, step: int, name: str, path: Path) -> None:
        """Leave pictures where they are."""

    def close(self) -> None:
        """Nothing is left to write."""

    def _rows(self) -> list[list[str]]:
        """Return the whole rows; a killed run may have left half of one."""
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        return [row for row in rows if len(row) == len(CSV_FIELDS) and row[0].isdigit()]


class TensorBoardLog:
    """Event files that ``tensorboard --logdir`` reads."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open a writer; events after ``step`` of an earlier run are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Add an image file."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WandbLog:
    """A run of Weights & Biases; needs the extra ``wandb``."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Start a run, or continue the one of this folder."""
        import wandb

        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project="mcm",
            name=folder.name,
            dir=str(folder),
            config=dict(config),
            id=_run_id(folder / WANDB_FILE),
            resume="allow",
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Log an image file."""
        self._run.log({name: self._wandb.Image(str(path))}, step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


@dataclass(frozen=True)
class Logs:
    """Several logs as one."""

    sinks: Sequence[Log]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers in each."""
        for sink in self.sinks:
            sink.scalars(step, values)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Record an image file in each."""
        for sink in self.sinks:
            sink.picture(step, name, path)

    def close(self) -> None:
        """Close each."""
        for sink in self.sinks:
            sink.close()


@dataclass
class Recorder:
    """Logs the mean of the steps' numbers every ``every`` steps and at the end."""

    log: Log
    every: int
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def after_step(self, report: Report) -> None:
        """Add a step's numbers."""
        for name, value in report.scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        if report.step % self.every == 0 or report.last:
            means = {name: total / self.counts[name] for name, total in self.sums.items()}
            self.log.scalars(report.step, means | {"skipped": float(report.skipped)})
            self.sums.clear()
            self.counts.clear()

    def close(self) -> None:
        """Close the log."""
        self.log.close()


def open_logs(tracker: str, folder: Path, step: int, config: Mapping[str, Any]) -> Logs:
    """Open the CSV file and the tracker of a recipe.

    Args:
        tracker: ``tensorboard``, ``wandb`` or ``none``.
        folder: Output of the run.
        step: Finished steps; later entries of an earlier run are dropped.
        config: What describes the run.
    """
    sinks: list[Log] = [CsvLog(folder, step)]
    if tracker == "tensorboard":
        sinks.append(TensorBoardLog(folder, step))
    elif tracker == "wandb":
        sinks.append(WandbLog(folder, config))
    return Logs(sinks)


def _run_id(file: Path) -> str:
    """Return the id of this folder's run at the tracker; drawn and written the first time."""
    if not file.is_file():
        write_atomically(file, secrets.token_hex(8).encode())
    return file.read_text(encoding="utf-8")
