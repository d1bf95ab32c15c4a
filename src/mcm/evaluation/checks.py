"""What `mcm evaluate` refuses before anything is made, and what it warns of."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

from mcm.errors import UserError
from mcm.evaluation.contenders import Contender, parse_contender
from mcm.evaluation.embedded import Request
from mcm.evaluation.suite import TEACHER_STEPS, Suite, run_name
from mcm.safety import guard
from mcm.sampling.options import ModelWarning


def check_some(models: Sequence[str]) -> None:
    """Refuse an empty list, or a text in its place.

    Raises:
        UserError: It is one.
    """
    if isinstance(models, str) or not models:
        raise UserError(
            f"models: got {models!r:.60}, expected a list of at least one, as ['fluent']"
        )


def check_amounts(part: tuple[int, int], count: int | None, real: int) -> None:
    """Refuse a part that there is not, or too few clips for a distance.

    Raises:
        UserError: Names the first that cannot be.
    """
    number, of = part
    if not 0 <= number < of:
        raise UserError(f"part: got {number} of {of} parts, expected 0 to {of - 1}")
    for name, wish in (("count", count), ("real", real)):
        if wish is not None and wish < 2:
            raise UserError(f"{name}: got {wish}, expected 2 or more")


def parse_teacher(text: str | None, device: str, dtype: str) -> Contender | None:
    """Return who takes part with 50 steps.

    Raises:
        UserError: It cannot be, or its steps are given.
    """
    if not text:
        return None
    teacher = parse_contender(text, (TEACHER_STEPS,), device, dtype)
    if teacher.steps != (TEACHER_STEPS,):
        raise UserError(
            f"teacher: got {text!r}, expected a model without steps; its clips are those of "
            f"{TEACHER_STEPS}. Name it among the models as well for others"
        )
    return teacher


def check_labels(
    contenders: Sequence[Contender], teacher: Contender | None, real: Collection[str] = ()
) -> None:
    """Refuse labels that would share a folder of runs or a row, before anything is made.

    Args:
        contenders: The models.
        teacher: Whose clips flow is compared with.
        real: Names of real material.

    Raises:
        UserError: Two models do, or one and another teacher, or one and real material.
    """
    for one in (*contenders, *filter(None, [teacher])):
        if one.label in real:
            raise UserError(
                f"models: {one.text} is called {one.label!r} as real material is; give it "
                ":label=another"
            )
    by_folder: dict[str, Contender] = {}
    for one in contenders:
        other = by_folder.setdefault(run_name(one.label, 0), one)
        if other is not one:
            called = repr(one.label) + f" and {other.label!r}" * (one.label != other.label)
            raise UserError(f"models: two are called {called}; give one of them :label=another")
    same = by_folder.get(run_name(teacher.label, 0)) if teacher else None
    if teacher and same and not same.is_sampled_as(teacher):
        raise UserError(
            f"models: {same.text} is called {same.label!r} as the teacher {teacher.text} is, which "
            "is another; give it :label=another"
        )


def check_prompts(requests: Sequence[Request]) -> None:
    """Refuse a list of prompts as a whole before anything is made of it.

    Raises:
        UserError: The policy does not allow some; names them.
    """
    refused = []
    for request in requests:
        try:
            guard.check_prompt(request.prompt)
        except guard.Refused as error:
            refused.append((request.prompt, str(error)))
    if refused:
        prompts = "; ".join(repr(prompt) for prompt, _ in refused[:5])
        raise UserError(
            f"prompts: {len(refused)} of {len(requests)} are refused: {prompts}"
            f"{'; …' if len(refused) > 5 else ''} ({refused[0][1]}); take them out of the list, "
            "or change the policy"
        )


def tell_missing(suite: Suite) -> None:
    """Warn of metrics whose judge is not there."""
    if suite.missing:
        titles = ", ".join(suite.missing)
        whys = "; ".join(dict.fromkeys(suite.missing.values()))
        warnings.warn(
            f"not measured, as a judge's network is not there: {titles}; {whys}; give their "
            "folder as --judges FOLDER",
            ModelWarning,
            stacklevel=3,
        )


def tell_few(suite: Suite) -> None:
    """Warn of real material that is less than the models' clips."""
    asked = suite.facts["count"]
    few = {name: n for name, n in suite.facts["references"].items() if n < asked}
    if few:
        listed = ", ".join(f"{name} {n}" for name, n in few.items())
        warnings.warn(
            f"real: there are fewer real clips or stills ({listed}) than the {asked} clips of a "
            "model, so that rows of real material have fewer; Fréchet distances depend on both "
            "numbers",
            ModelWarning,
            stacklevel=3,
        )
