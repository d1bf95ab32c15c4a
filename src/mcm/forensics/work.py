"""The work of `mcm detector`: gather traces, fit, judge, write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcm.data.fluent.scene import Split
from mcm.errors import UserError
from mcm.forensics.distortions import Distortion
from mcm.forensics.fitting import Labelled, fit
from mcm.forensics.material import (
    TRAINED,
    UNSEEN,
    Source,
    collect,
    held_apart,
    sources,
)
from mcm.forensics.report import Group, write_report
from mcm.safety.forensic import load_forensic, save_forensic

WEIGHTS = "forensic.safetensors"


def train_detector(
    real: Sequence[str],
    generated: Sequence[str],
    output: Path,
    count: int,
    domain: float = 0.99,
    seed: int = 0,
) -> Path:
    """Gather traces of clips, fit the detector and write it.

    Args:
        real: Sources of real clips, as `mcm.forensics.material` reads them.
        generated: Sources of generated clips.
        output: Folder of the run; traces that it holds are not made again.
        count: Clips of each source; every fifth scene is held apart to calibrate.
        domain: Share of the clips held apart that are to be in the detector's domain.
        seed: Of the network's beginning and noise.

    Returns:
        The file of the detector.

    Raises:
        UserError: A source cannot be, the folder holds traces of others, or clips are too few.
    """
    gathered = _gathered(sources(real, generated), "train", count, TRAINED, output / "traces")
    model = fit(labelled(gathered), domain, seed)
    save_forensic(model, output / WEIGHTS)
    (output / "facts.json").write_text(json.dumps(model.facts, indent=1) + "\n", encoding="utf-8")
    return output / WEIGHTS


def evaluate_detector(
    weights: Path, real: Sequence[str], generated: Sequence[str], output: Path, count: int
) -> list[Path]:
    """Judge a detector on scenes that no training drew, and write the report.

    Args:
        weights: File of the detector.
        real: Sources of real clips.
        generated: Sources of generated clips, those it was not trained on among them.
        output: Folder of the evaluation; traces that it holds are not made again.
        count: Clips of each source.

    Returns:
        The files of the report.

    Raises:
        UserError: As :func:`train_detector`, or the detector cannot be read.
    """
    model = load_forensic(weights)
    every = {**TRAINED, **UNSEEN}
    chosen = sources(real, generated)
    for label, name in ((False, "real"), (True, "generated")):
        if not any(source.generated == label for source in chosen):
            raise UserError(f"{name}: no source of {name} clips; name one or more")
    known = {*model.facts["real"], *model.facts["generated"]}
    groups = []
    for source, rows in _gathered(chosen, "evaluation", count, every, output / "traces").items():
        for distortion in every:
            seen = [row["seen"][distortion] for row in rows]
            seen_nd = np.array([one["traces"] for one in seen if one], np.float32)
            if not len(seen_nd):
                continue
            groups.append(
                Group(
                    source.name,
                    distortion,
                    source.generated,
                    trained=source.name in known and distortion in TRAINED,
                    logits=model.logits(seen_nd),
                    inside=model.distances(seen_nd) <= model.limit,
                )
            )
    return write_report(groups, model.facts, output)


def labelled(gathered: Mapping[Source, Iterable[Mapping[str, Any]]]) -> Labelled:
    """Return the traces of all clips and distortions together."""
    each = [
        (one["traces"], source.generated, source.name, held_apart(row["key"]))
        for source, rows in gathered.items()
        for row in rows
        for one in row["seen"].values()
        if one
    ]
    seen, generated, names, held = zip(*each, strict=True)
    return Labelled(
        np.array(seen, np.float32), np.array(generated), np.array(names), np.array(held)
    )


def _gathered(
    chosen: Iterable[Source],
    split: Split,
    count: int,
    done_to_them: Mapping[str, Distortion],
    folder: Path,
) -> dict[Source, list[dict[str, Any]]]:
    return {source: collect(source, split, count, done_to_them, folder) for source in chosen}
