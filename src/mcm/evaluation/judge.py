"""All judges of the embedded world at once: on clips in memory, or on a model, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.data.fluent.captions import prompt
from mcm.data.fluent.scene import Combination
from mcm.evaluation.background import BackgroundRate
from mcm.evaluation.black import NearBlackRate
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.coherence import WarpingError
from mcm.evaluation.concept import ConceptRate
from mcm.evaluation.embedded import PROTOCOL, Generator, Request, requests
from mcm.evaluation.features import ClipFeatures, FrameFeatures
from mcm.evaluation.flow import FlowObserver
from mcm.evaluation.metric import MeanMetric, Metric, Observer, Result
from mcm.evaluation.motion import MotionFidelity
from mcm.evaluation.networks import Judges
from mcm.evaluation.refused import RefusedRate
from mcm.evaluation.runs import OnClip, Row, observations, observe_all, row_of
from mcm.evaluation.sharpness import Sharpness
from mcm.evaluation.speed import SecondsPerClip
from mcm.evaluation.watermark import WatermarkRate


@dataclass(frozen=True)
class ClipReport:
    """What the judges say of a set of clips.

    Attributes:
        results: Value and interval of each metric by its name.
    """

    results: dict[str, Result]

    def as_dict(self) -> dict[str, Any]:
        """Return the report JSON-ready."""
        results = {name: asdict(result) for name, result in self.results.items()}
        return {"protocol": PROTOCOL, "results": results}

    def __str__(self) -> str:
        return "\n".join(f"{name:<15}{result}" for name, result in self.results.items())


def default_metrics(judges: Judges | None = None) -> list[Metric]:
    """Return fresh judges of single runs: all that need no other run to compare with."""
    return [
        MotionFidelity(),
        ConceptRate(judges),
        BackgroundRate(),
        WatermarkRate(),
        Sharpness(),
        NearBlackRate(),
        RefusedRate(),
        WarpingError(),
        SecondsPerClip(),
    ]


def observers_of(metrics: Sequence[Metric], judges: Judges | None = None) -> list[Observer]:
    """Return what must see a clip so that the metrics can be computed, each once."""
    shared: dict[str, Callable[[], Observer]] = {
        FlowObserver.name: FlowObserver,
        ClipFeatures.name: lambda: ClipFeatures(judges),
        FrameFeatures.name: lambda: FrameFeatures(judges),
    }
    found: dict[str, Observer] = {}
    for metric in metrics:
        if isinstance(metric, MeanMetric) and metric.observer == metric.name:
            found[metric.name] = metric
        elif metric.observer not in found:
            found[metric.observer] = shared[metric.observer]()
    return list(found.values())


def judge_clips(
    clips: Iterable[NDArray[np.uint8]],
    combinations: Sequence[Combination],
    metrics: Sequence[Metric] | None = None,
) -> ClipReport:
    """Judge clips held in memory.

    Args:
        clips: Frames of each clip, (t, h, w, 3) uint8.
        combinations: What the prompt of each clip names.
        metrics: The judges; all by default.
    """
    metrics = default_metrics() if metrics is None else metrics
    observers = observers_of(metrics)
    rows = []
    for number, (frames, named) in enumerate(zip(clips, combinations, strict=True)):
        clip = EvaluationClip(f"{number:05}", frames, prompt(named), named)
        rows.append(row_of(clip, number, observers))
    return summarise(rows, metrics)


def evaluate_model(
    model: Generator,
    steps: int,
    path: Path,
    count: int | None = None,
    metrics: Sequence[Metric] | None = None,
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
    header = {"protocol": PROTOCOL, "model": model.name, "steps": steps}

    def make(request: Request) -> EvaluationClip:
        made = model.generate(request.prompt, steps=steps, seed=request.seed)
        named = request.combination
        return EvaluationClip(request.key, made.frames, request.prompt, named, made.seconds)

    rows = observe_all(make, requests(count), observers_of(metrics), path, header, on_clip)
    return summarise(rows, metrics)


def summarise(
    rows: Sequence[Row], metrics: Sequence[Metric], reference: Sequence[Row] = ()
) -> ClipReport:
    """Return the report of judged clips as :func:`evaluate_model` writes them.

    Args:
        rows: The clips of the run.
        metrics: What to compute.
        reference: The clips of the run that comparing metrics compare with.

    Raises:
        UserError: A clip was judged without an observer that a metric needs.
    """
    return ClipReport(
        {
            metric.name: metric.compute(
                observations(rows, metric.observer), observations(reference, metric.observer)
            )
            for metric in metrics
        }
    )
