"""What a manifest says, taken from c2pa's JSON; a stranger may have written any of it.

Of every value only the kind that belongs there counts, so that nothing in a file can break a
report on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from mcm.safety.manifest import GENERATION

State = Literal["valid", "altered", "absent", "unknown"]
Trust = Literal["trusted", "this machine", "untrusted"]
UNSEALED = "mcm.seal.mismatch"
_GENERATED = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
_OF_SIGNER = ("signingCredential.", "claimSignature.outsideValidity")
"""C2PA's codes that speak of the signer's certificate, not of the file."""
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class ManifestReport:
    """What the manifest of a file says, and whether it fits.

    Attributes:
        state: `valid`, `altered` (file or manifest was changed after signing), `absent`, or
            `unknown`: it could not be looked at.
        reason: Why it is unknown; empty otherwise.
        signer: Name in the signer's certificate; empty without one.
        trust: Whether the signer is under one of the policy's authorities (`trusted`), is this
            machine's own local one, or is known to nobody here.
        doubts: C2PA's codes of what is wrong with the signer's certificate.
        faults: C2PA's codes of what does not fit.
        generator: Software that made the claim.
        actions: What it says was done, such as `c2pa.created`.
        sources: How it says the content came about: last words of IPTC's digital source types.
        ingredients: Names of the files that went in.
        damaged: Those of them whose own manifest did not fit when they went in.
        generation: How mcm made it, if mcm did.
    """

    state: State
    reason: str = ""
    signer: str = ""
    trust: Trust = "untrusted"
    doubts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    generator: str = ""
    actions: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ingredients: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    generation: dict[str, Any] | None = None

    @property
    def generated(self) -> bool | None:
        """Whether a valid manifest claims a trained algorithm; ``None`` if it does not say."""
        if self.state != "valid" or not self.sources:
            return None
        return any(source in _GENERATED for source in self.sources)


def own_assertion(store: dict[str, Any]) -> Any:
    """Return mcm's assertion of the active manifest, of whatever kind; ``None`` without one."""
    return _assertions(_active(store)).get(GENERATION)


def report(store: dict[str, Any], trust: Trust, unsealed: bool) -> ManifestReport:
    """Return what a manifest says.

    Args:
        store: What `c2pa.Reader.json` says of it.
        trust: Who its signer is.
        unsealed: Whether it should bear a seal that fits, and does not.
    """
    manifest = _active(store)
    assertions = _assertions(manifest)
    actions = _dicts(
        _dict(assertions.get("c2pa.actions.v2") or assertions.get("c2pa.actions")).get("actions")
    )
    agent = next(iter(_dicts(manifest.get("claim_generator_info"))), {})
    signature = _dict(manifest.get("signature_info"))
    ingredients = _dicts(manifest.get("ingredients"))
    codes = _codes(store.get("validation_status"))
    faults = [code for code in codes if not code.startswith(_OF_SIGNER)]
    faults += [UNSEALED] if unsealed else []
    faults += [] if faults or _verified(store, codes) else ["validation_state.invalid"]
    own = _dict(assertions.get(GENERATION))
    generation = own.get("generation")
    return ManifestReport(
        state="altered" if faults else "valid",
        signer=_text(signature.get("common_name")) or _text(signature.get("issuer")),
        trust=trust,
        doubts=[code for code in codes if code.startswith(_OF_SIGNER) and code != _UNTRUSTED],
        faults=faults,
        generator=" ".join(filter(None, (_text(agent.get(key)) for key in ("name", "version")))),
        actions=_texts(action.get("action") for action in actions),
        sources=[
            source.rpartition("/")[2]
            for source in _texts(action.get("digitalSourceType") for action in actions)
        ],
        ingredients=[_title(one) for one in ingredients],
        damaged=[_title(one) for one in ingredients if _is_damaged(one, _dict(own.get("source")))],
        generation=generation if isinstance(generation, dict) else None,
    )


def _verified(store: dict[str, Any], codes: list[str]) -> bool:
    """Whether signature and content fit, be the signer's certificate as it may."""
    if store.get("validation_state") != "Invalid":
        return True
    active = _dict(_dict(store.get("validation_results")).get("activeManifest"))
    fits = _codes(active.get("success"))
    content = [code for code in fits if code.startswith("assertion.") and "Hash.match" in code]
    doubted = any(code.startswith(_OF_SIGNER) for code in codes)
    return doubted and "claimSignature.validated" in fits and bool(content)


def _is_damaged(ingredient: dict[str, Any], source: dict[str, Any]) -> bool:
    """Whether c2pa found its manifest altered, or mcm, which edited it, that of its source."""
    if source.get("manifest") == "altered" and ingredient.get("relationship") == "parentOf":
        return True
    results = _dict(_dict(ingredient.get("validation_results")).get("activeManifest"))
    codes = _codes(results.get("failure")) + _codes(ingredient.get("validation_status"))
    return any(not code.startswith(_OF_SIGNER) for code in codes)


def _active(store: dict[str, Any]) -> dict[str, Any]:
    return _dict(_dict(store.get("manifests")).get(_text(store.get("active_manifest"))))


def _assertions(manifest: dict[str, Any]) -> dict[str, Any]:
    found = _dicts(manifest.get("assertions"))
    return {_text(entry.get("label")): entry.get("data") for entry in found}


def _title(ingredient: dict[str, Any]) -> str:
    return _text(ingredient.get("title")) or "unnamed"


def _codes(entries: Any) -> list[str]:
    return _texts(entry.get("code") for entry in _dicts(entries))


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(values: Any) -> list[dict[str, Any]]:
    listed = values if isinstance(values, list) else []
    return [value for value in listed if isinstance(value, dict)]
