"""What is checked, signed and marked: one strict YAML file, the same for every way in.

``MCM_POLICY`` names the file; without it ``policy.yaml`` in `mcm.safety.home` counts if it is
there, and otherwise the defaults below. Whoever switches a layer off finds that in the audit log
and in the metadata of every clip.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from mcm.fields import Count, Fraction, Name, Section
from mcm.recipe import read
from mcm.safety.home import home

Action = Literal["allow", "log", "refuse"]
Category = Literal[
    "minors",
    "sexual",
    "nonconsensual",
    "gore",
    "hate",
    "extremism",
    "self_harm",
    "deception",
    "real_person",
]
Place = Annotated[Path, Strict(False)]
Names = Annotated[tuple[Name, ...], Strict(False)]


class ProvenanceSection(Section):
    """The signed manifest of every file."""

    sign: bool = True
    """Write a C2PA manifest; off is logged and told by the file's metadata."""
    certificate: Place | None = None
    """PEM file: your certificate and those above it; null: a local one, made at first use."""
    key: Place | None = None
    """PEM file: the certificate's private key: ECDSA (P-256, P-384, P-521), Ed25519 or RSA."""
    timestamps: Name | None = None
    """Address of a time-stamping authority (RFC 3161); null: no trusted time."""
    anchors: Annotated[tuple[Place, ...], Strict(False)] = ()
    """PEM files of the authorities whose signers `mcm verify` shall call trusted."""

    @model_validator(mode="after")
    def _pair(self) -> ProvenanceSection:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate: needs the key beside it, and the key the certificate")
        return self


class WatermarkSection(Section):
    """The invisible mark in the frames."""

    mark: bool = True
    """Mark the frames; off is logged and told by the file's metadata."""


class ActionsSection(Section):
    """What to do with a prompt of a category: `allow` it, `log` it, or `refuse` it."""

    minors: Action = "refuse"
    """Sexual content with minors."""
    sexual: Action = "refuse"
    """Nudity and sexual acts."""
    nonconsensual: Action = "refuse"
    """Undressing, filming or sexualising somebody who did not agree."""
    gore: Action = "refuse"
    """Graphic violence, torture, mutilation."""
    hate: Action = "refuse"
    """Slurs and contempt of people for what they are."""
    extremism: Action = "refuse"
    """Praise of terror and of its symbols, recruiting, instructions for attacks."""
    self_harm: Action = "refuse"
    """Suicide and self-injury."""
    deception: Action = "refuse"
    """Forged news, statements, evidence or documents."""
    real_person: Action = "refuse"
    """A named real person."""


class ModerationSection(Section):
    """The checks of prompts and frames."""

    prompts: bool = True
    """Check prompts before generation."""
    frames: bool = True
    """Check frames after it."""
    actions: ActionsSection = ActionsSection()
    frame_action: Action = "refuse"
    """What to do with a clip whose frames look pornographic."""
    frame_threshold: Fraction = 0.8
    """Score of a frame, 0 to 1, from which a clip counts as such."""
    frame_count: Count = 2
    """Frames of a clip that are looked at, evenly spaced."""
    people: Names = ()
    """Further names of people who must not be shown."""
    allowed_people: Names = ()
    """Names that may be shown, such as your own, with consent."""
    terms: dict[Category, Names] = Field(default_factory=dict)
    """Further terms of a category, each a word or a phrase, as in ``mcm/safety/terms.yaml``."""


class DetectionSection(Section):
    """The learned detectors that `mcm verify` asks."""

    forensic: Place | None = None
    """Weights of the detector `forensic`, as `mcm detector train` writes them; null: those of the
    package, if it has any."""
    detectors: dict[Name, Name] = Field(default_factory=dict)
    """Further detectors: a name, and an import path such as `package.module:callable`."""


class Policy(Section):
    """Everything that `mcm.safety` is told."""

    provenance: ProvenanceSection = ProvenanceSection()
    watermark: WatermarkSection = WatermarkSection()
    moderation: ModerationSection = ModerationSection()
    detection: DetectionSection = DetectionSection()

    def switched_off(self) -> list[str]:
        """Return the layers that do not run, and the categories that are allowed, by name."""
        rules = self.moderation
        layers = {
            "provenance": self.provenance.sign,
            "watermark": self.watermark.mark,
            "prompt moderation": rules.prompts,
            "frame moderation": rules.frames and rules.frame_threshold < 1,
        }
        off = [name for name, on in layers.items() if not on]
        actions = rules.actions.model_dump() if rules.prompts else {}
        if layers["frame moderation"]:
            actions["frames"] = rules.frame_action
        allowed = [name for name, action in actions.items() if action == "allow"]
        return [*off, *([f"allowed: {', '.join(allowed)}"] if allowed else [])]


def active_policy() -> Policy:
    """Return the policy in force; its file and those that it builds on are read each time.

    Raises:
        UserError: The file is missing, cannot be read, is not YAML, or holds an unknown key or a
            wrong value.
    """
    named = os.environ.get("MCM_POLICY")
    path = Path(named).expanduser() if named else home() / "policy.yaml"
    if not named and _is_missing(path):
        return Policy()
    policy = read(path, Policy)
    if off := policy.switched_off():
        _log_once(path, tuple(off))
    return policy


def _is_missing(path: Path) -> bool:
    """Whether there is surely no file; one that cannot be looked at counts as there."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@cache
def _log_once(path: Path, off: tuple[str, ...]) -> None:
    """Log what a policy switches off, once a process."""
    from mcm.safety.audit import record

    record("switched off", layers=off, policy=str(path))
