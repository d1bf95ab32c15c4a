"""What the page offers for a model: the arguments of its components."""

from __future__ import annotations

from typing import Any

from mcm.serving.intake import longest
from mcm.serving.models import ServedModel

STUDENT_STEPS, TEACHER_STEPS = (1, 2, 4, 8), (10, 25, 50)


def label(one: ServedModel) -> str:
    """Return what a model is called in the list."""
    return f"{one.name} ({'student' if one.is_student else 'teacher'})"


def steps(one: ServedModel) -> dict[str, Any]:
    """Return the steps to choose from, and the model's own."""
    choices = list(STUDENT_STEPS if one.is_student else TEACHER_STEPS)
    own = one.model.defaults.steps
    return {"choices": choices, "value": own if own in choices else choices[-1]}


def beside(one: ServedModel) -> dict[str, Any]:
    """Return whether its teacher can be shown beside a model."""
    return {"value": False, "interactive": one.teacher is not None}


def sizes(one: ServedModel) -> dict[str, Any]:
    """Return the model's own size, a wider one and a taller one."""
    spec = one.model.backbone.spec
    longer = [
        side * 3 // 2 // spec.size_step * spec.size_step for side in (spec.width, spec.height)
    ]
    own = f"{spec.width}x{spec.height}"
    choices = [own, f"{longer[0]}x{spec.height}", f"{spec.width}x{longer[1]}"]
    return {"choices": choices, "value": own}


def lengths(one: ServedModel) -> dict[str, Any]:
    """Return half the model's own length, its own and the longest, in seconds as requests say."""
    spec = one.model.backbone.spec
    counts = dict.fromkeys((spec.frames // 2, spec.frames, longest(one.model)))
    choices = [
        (f"{count / spec.fps:.3g} s", f"{count / spec.fps:.3f}") for count in counts if count
    ]
    return {"choices": choices, "value": f"{spec.frames / spec.fps:.3f}"}


def loop(one: ServedModel) -> dict[str, Any]:
    """Return whether a model can make loops."""
    return {"value": False, "interactive": one.model.backbone.spec.temporal_factor == 1}
