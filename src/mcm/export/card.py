"""The model card of an export: what it is, how it was made, how to load it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mcm import __version__
from mcm.backbones.json_files import read_json
from mcm.errors import UserError
from mcm.evaluation.markdown import table_lines
from mcm.evaluation.metric import digits
from mcm.export.base import Place
from mcm.export.comfyui import hint
from mcm.export.scheduler import scheduler_config
from mcm.export.student import Exported
from mcm.export.usage import usage
from mcm.recipe import FILE_NAME

SAMPLES = "samples"


@dataclass(frozen=True)
class CardOptions:
    """What the user says for the card.

    Attributes:
        licence: As model hubs spell it.
        prompt: Of the example.
        metrics: ``report.json`` of `mcm evaluate`.
        samples: Clips to show, which are copied into the export.
    """

    licence: str = "other"
    prompt: str = "a fox moving left on a blue background"
    metrics: Path | None = None
    samples: tuple[Path, ...] = ()

    def check(self) -> None:
        """Look for the files.

        Raises:
            UserError: One is not there, or two clips have one name.
        """
        names = [path.name for path in self.samples]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"sample: got two clips {twice[0]}, expected clips of different names")
        for field, paths in (("metrics", [self.metrics]), ("sample", self.samples)):
            for path in paths:
                if path is not None and not path.is_file():
                    raise UserError(f"{field}: {path}: no such file")


def card(
    exported: Exported, place: str, format: str, options: CardOptions, notices: Sequence[str]
) -> str:
    """Return the text of ``README.md`` with the metadata that model hubs read.

    Args:
        exported: What is exported.
        place: Folder or repository where it will be, for the lines that load it.
        format: Of the export.
        options: What the user says.
        notices: What the export lacks.
    """
    head = [
        *_metadata(exported.base, options.licence),
        f"# {exported.name}: few-step video by motion consistency distillation",
        "",
        f"A student of {_base(exported.base)} that generates video in 1 to 8 network steps, "
        f"made with mcm {__version__} by motion consistency distillation (arXiv 2406.06890).",
        "",
    ]
    shown = [f"![{path.name}]({SAMPLES}/{quote(path.name)})" for path in options.samples]
    samples = ["## Samples", "", *shown, ""] if shown else []
    lacks = ["## What is not in it", "", *(f"- {text}" for text in notices), ""] if notices else []
    use = _use(exported, place, format, options.prompt)
    lines = [*head, *use, *lacks, *samples, *_metrics(options.metrics), *_facts(exported)]
    return "\n".join(lines) + "\n"


def _metadata(base: Place, licence: str) -> list[str]:
    """Return the lines for model hubs, which know teachers by their repositories alone."""
    known = [f"base_model: {json.dumps(base.repository)}"] if base.repository else []
    return [
        "---",
        f"license: {json.dumps(licence, ensure_ascii=False)}",
        *known,
        "library_name: diffusers",
        "pipeline_tag: text-to-video",
        "tags: [motion-consistency-model, text-to-video, few-step]",
        "---",
    ]


def _base(base: Place) -> str:
    if base.is_embedded:
        return f"`{base.name}`, which comes with the package mcm,"
    return f"`{base.title}`" + (f" (revision `{base.revision}`)" if base.revision else "")


def _use(exported: Exported, place: str, format: str, prompt: str) -> list[str]:
    if format == "comfyui":
        return ["## Use", "", hint(exported), ""]
    config = scheduler_config(exported.backbone, exported.student.card)
    code = usage(exported, place, format, prompt, config["_class_name"])
    return ["## Use", "", "```python", f"{code}```", ""]


def _metrics(report: Path | None) -> list[str]:
    """Return the table of an evaluation."""
    if report is None:
        return []
    values = read_json(report, "report.json of `mcm evaluate`")
    runs = values.get("runs")
    try:
        if not isinstance(runs, list) or not runs:
            raise TypeError("no runs")
        names = list(dict.fromkeys(name for run in runs for name in run["results"]))
        rows = [_row(run, names) for run in runs]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{report}: cannot be read as report.json of `mcm evaluate` ({error}); give the file "
            "that it wrote"
        ) from None
    lines = table_lines(["model", "steps", *names], rows)
    return ["## Metrics", "", f"Protocol {values.get('protocol')}.", "", *lines, ""]


def _row(run: dict[str, Any], names: Sequence[str]) -> list[str]:
    found = (run["results"].get(name, {"value": None})["value"] for name in names)
    cells = ["–" if value is None else digits(float(value)) for value in found]
    return [str(run["model"]), str(run["steps"]), *cells]


def _facts(exported: Exported) -> list[str]:
    places = {key: _base_name(place) for key, place in exported.places.items()}
    text = json.dumps(exported.notes | places, indent=2, ensure_ascii=False)
    lines = ["## How it was made", "", "```json", text, "```", ""]
    recipe = exported.student.folder / FILE_NAME
    if recipe.is_file():
        try:
            text = recipe.read_text(encoding="utf-8").rstrip()
        except ValueError:
            raise UserError(f"{recipe}: no text in UTF-8; mend it, or take it away") from None
        lines += ["The whole recipe, its data included:", "", "```yaml", text, "```"]
    return lines


def _base_name(place: Place) -> str:
    """Return the name of a place with its revision, or of a folder without where it is."""
    return place.name if place.is_public else place.title
