"""All judges of the embedded world at once: on clips in memory, or on a model, resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.scene import Combination
from mcm.errors import UserError
from mcm.evaluation.background import BackgroundRate
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.concept import ConceptRate
from mcm.evaluation.embedded import PROTOCOL, Generator, Request, requests
from mcm.evaluation.metric import MeanMetric, Result, Score
from mcm.evaluation.motion import MotionFidelity
from mcm.evaluation.sharpness import Sharpness
from mcm.evaluation.watermark import WatermarkRate

OnClip = Callable[[int, int], None]
"""Called with the number of clips done and of all clips."""


@dataclass(frozen=True)
class ClipReport:
    """What the judges say of a set of clips.

    Attributes:
        results: Value and interval of each metric by its name.
        seconds: Mean seconds per clip, or 0 when nothing was generated.
    """

    results: dict[str, Result]
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report JSON-ready."""
        results = {name: asdict(result) for name, result in self.results.items()}
        return {"protocol": PROTOCOL, "results": results, "seconds": self.seconds}

    def __str__(self) -> str:
        return "\n".join(f"{name:<12}{result}" for name, result in self.results.items())


def default_metrics() -> list[MeanMetric]:
    """Return fresh judges: motion, concept, background, watermark, sharpness."""
    return [MotionFidelity(), ConceptRate(), BackgroundRate(), WatermarkRate(), Sharpness()]


def judge_clips(
    clips: Iterable[NDArray[np.uint8]],
    combinations: Sequence[Combination],
    metrics: Sequence[MeanMetric] | None = None,
) -> ClipReport:
    """Judge clips held in memory.

    Args:
        clips: Frames of each clip, (t, h, w, 3) uint8.
        combinations: What the prompt of each clip names.
        metrics: The judges; all by default.
    """
    metrics = default_metrics() if metrics is None else metrics
    for number, (frames, combination) in enumerate(zip(clips, combinations, strict=True)):
        clip = EvaluationClip(f"{number:05}", frames, combination)
        for metric in metrics:
            metric.update([clip])
    return ClipReport({metric.name: metric.compute() for metric in metrics})


def evaluate_model(
    model: Generator,
    steps: int,
    path: Path,
    count: int | None = None,
    metrics: Sequence[MeanMetric] | None = None,
    on_clip: OnClip | None = None,
) -> ClipReport:
    """Generate and judge the clips of the protocol one by one; a broken run goes on.

    Args:
        model: What to evaluate; its ``generate(prompt, steps=, seed=)`` gives frames.
        steps: Network steps of a clip.
        path: JSONL file, one line for the run and then one for each judged clip.
        count: Number of clips; by default one for every evaluation combination.
        metrics: The judges; all by default.
        on_clip: Called after each clip.

    Raises:
        UserError: The file holds another model's clips, or other steps.
    """
    metrics = default_metrics() if metrics is None else metrics
    asked = requests(count)
    done = _resume(path, {"protocol": PROTOCOL, "model": model.name, "steps": steps})
    for number, request in enumerate(asked, 1):
        if request.key not in done:
            done[request.key] = _judge_request(model, steps, request, metrics)
            _append(path, done[request.key])
        if on_clip:
            on_clip(number, len(asked))
    return summarise([done[request.key] for request in asked], metrics)


def summarise(rows: Sequence[dict[str, Any]], metrics: Sequence[MeanMetric]) -> ClipReport:
    """Return the report of judged clips as :func:`evaluate_model` writes them.

    Raises:
        UserError: A clip was judged without one of the metrics.
    """
    for metric in metrics:
        missing = [row["key"] for row in rows if metric.name not in row["scores"]]
        if missing:
            raise UserError(
                f"clip {missing[0]} has no score of {metric.name!r}; judge it again in a new file"
            )
        metric.merge({row["key"]: _number(row["scores"][metric.name]["value"]) for row in rows})
    seconds = float(np.mean([row["seconds"] for row in rows])) if rows else 0.0
    return ClipReport({metric.name: metric.compute() for metric in metrics}, seconds)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _judge_request(
    model: Generator, steps: int, request: Request, metrics: Sequence[MeanMetric]
) -> dict[str, Any]:
    generated = model.generate(request.prompt, steps=steps, seed=request.seed)
    clip = EvaluationClip(request.key, generated.frames, request.combination)
    return {
        "key": request.key,
        "prompt": request.prompt,
        "seed": request.seed,
        "seconds": round(generated.seconds, 4),
        "scores": {metric.name: _score_row(metric.score(clip)) for metric in metrics},
    }


def _score_row(score: Score) -> dict[str, Any]:
    """Return a score JSON-ready; a value that is not finite is null."""
    value = round(score.value, 6) if np.isfinite(score.value) else None
    return {"value": value, **({"seen": score.seen} if score.seen else {})}


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _resume(path: Path, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the judged clips of a file by key; begins the file, or drops a torn last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        path.write_text(json.dumps(run) + "\n", encoding="utf-8")
        return {}
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    first, *rows = [json.loads(line) for line in whole.splitlines()]
    if first != run:
        raise UserError(
            f"{path}: holds clips of {first}, expected {run}; give another file or remove it"
        )
    return {row["key"]: row for row in rows}
