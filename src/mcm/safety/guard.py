"""The two questions that every way in asks: may this prompt be made, may this clip be shown.

The command line, Python, the HTTP API and the page all come through here, by way of
`VideoModel.generate_batch` and `VideoModel.edit`. A moderator that cannot run refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcm.errors import UserError
from mcm.safety.audit import digest, record
from mcm.safety.policy import ActionsSection, ModerationSection, active_policy

_FRAMES = "frames"


class Refused(UserError):
    """The policy does not allow a prompt or a clip, or nobody could check it.

    Attributes:
        categories: Why; empty when a moderator could not run.
    """

    def __init__(self, message: str, categories: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.categories = tuple(categories)

    @property
    def of_frames(self) -> bool:
        """Whether a clip was checked and its frames are the reason."""
        return _FRAMES in self.categories


def check_prompt(prompt: str) -> None:
    """Let a prompt pass or not, as the policy in force says.

    Raises:
        Refused: It asks for what the policy refuses, or it could not be checked.
        UserError: It is too long to be checked, or the policy is wrong.
    """
    rules = active_policy().moderation
    if not rules.prompts:
        return
    try:
        found = categories(prompt, rules)
    except UserError:
        raise
    except Exception as error:
        raise _unchecked("prompt", prompt, error) from error
    _act("prompt", prompt, {name: getattr(rules.actions, name) for name in found})


def check_clip(frames: NDArray[np.uint8], prompt: str) -> None:
    """Let a clip, uint8, (t, h, w, 3), made from a prompt pass or not.

    Raises:
        Refused: Its frames look like what the policy refuses, or they could not be checked.
    """
    rules = active_policy().moderation
    if not rules.frames:
        return
    try:
        from mcm.safety.frames import score_frames

        score = score_frames(frames, rules.frame_count)
    except Exception as error:
        raise _unchecked("clip", prompt, error) from error
    if score >= rules.frame_threshold:
        _act("clip", prompt, {_FRAMES: rules.frame_action})


def categories(prompt: str, rules: ModerationSection) -> list[str]:
    """Return the categories that a prompt falls in, those that are never refused among them."""
    from mcm.safety.people import load_people
    from mcm.safety.prompts import load_rules

    found = load_rules(tuple(sorted(rules.terms.items()))).match(prompt)
    if load_people(rules.people, rules.allowed_people).named_in(prompt):
        found.append("real_person")
    return list(dict.fromkeys(found))


def _act(what: str, prompt: str, actions: dict[str, str]) -> None:
    """Log what is not simply allowed, and refuse if any category says so."""
    noted = [name for name, action in actions.items() if action != "allow"]
    refused = [name for name in noted if actions[name] == "refuse"]
    if refused:
        told = _log_refusal(f"{what} refused", prompt, categories=noted)
        raise Refused(f"{what}: refused by the policy ({_described(refused)}){told}", refused)
    if noted:
        record(f"{what} noted", categories=noted, prompt_hmac=digest(prompt))


def _log_refusal(event: str, prompt: str, **facts: Any) -> str:
    """Log a refusal, which stands also where that cannot be done; return what to tell of that."""
    try:
        record(event, **facts, prompt_hmac=digest(prompt))
    except UserError as error:
        return f"; this could not be logged: {error}"
    return ""


def _described(names: Sequence[str]) -> str:
    meanings = {name: field.description for name, field in ActionsSection.model_fields.items()}
    told = [meanings.get(name) or "frames look pornographic" for name in names]
    return ", ".join(text.rstrip(".").lower() for text in told) + "; see `moderation` in the policy"


def _unchecked(what: str, prompt: str, error: Exception) -> Refused:
    told = _log_refusal(f"{what} not checked", prompt, error=type(error).__name__)
    return Refused(
        f"{what}: refused, because its check could not run ({type(error).__name__}: {error}); "
        f"mend that, or switch the check off in the policy file{told}"
    )
