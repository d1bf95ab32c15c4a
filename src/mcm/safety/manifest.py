"""What a manifest claims of a file, in the words of C2PA 2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mcm import __version__
from mcm.safety.seal import ALGORITHM

GENERATION = "org.mcm.generation"
"""Label of our own assertion: how the clip was made, and what else can be checked of it."""

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_CREATED = _SOURCE_TYPES + "trainedAlgorithmicMedia"
_EDITED = _SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
_PARENT = "source"
_OF_EDITING = "strength"
"""A setting that only edited clips have."""


def definition(
    title: str, format: str, facts: Mapping[str, Any], source: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the manifest of a file.

    Args:
        title: Name of the file.
        format: Its media type.
        facts: JSON-ready: model, adapter, prompt, seed, settings, watermark.
        source: Name and SHA-256 of the file that was edited and state of its manifest, if one
            was. Of frames that were edited without a file, the manifest says that not all of the
            clip was generated.
    """
    agent = {"name": "mcm", "version": __version__}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made: dict[str, Any] = {"softwareAgent": agent, "when": now}
    if source is None:
        kind = _EDITED if _OF_EDITING in facts else _CREATED
        actions = [{"action": "c2pa.created", "digitalSourceType": kind, **made}]
    else:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}}
        actions = [opened, {"action": "c2pa.edited", "digitalSourceType": _EDITED, **made}]
    own = {
        "generation": dict(facts),
        "source": dict(source) if source else None,
        "seal": ALGORITHM,
    }
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": format,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": GENERATION, "data": own},
        ],
    }


def parent(name: str, format: str) -> dict[str, Any]:
    """Return the ingredient that stands for the file that was edited."""
    return {
        "title": name,
        "format": format,
        "relationship": "parentOf",
        "instance_id": _PARENT,
        "label": _PARENT,
    }
