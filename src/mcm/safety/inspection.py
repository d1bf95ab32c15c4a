"""Reading a manifest: is it there, does it fit the file, who vouches for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcm.safety.credentials import ROOT, local_folder, read_pem
from mcm.safety.formats import HEAD, holds_manifest, media_type, read_sidecar
from mcm.safety.manifest import GENERATION
from mcm.safety.provenance import OPAQUE
from mcm.safety.seal import seal_state

if TYPE_CHECKING:
    from mcm.safety.policy import ProvenanceSection

State = Literal["valid", "altered", "absent"]
Trust = Literal["trusted", "this machine", "untrusted"]
_TRACES = (b"jumdc2pa", b"jumdc2ma")
_LONGEST_TRACE = 8
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class ManifestReport:
    """What the manifest of a file says, and whether it fits.

    Attributes:
        state: `valid`, `altered` (file or manifest was changed after signing), or `absent`.
        signer: Name in the signer's certificate; empty without one.
        trust: Whether the signer is under one of the policy's authorities (`trusted`), is this
            machine's own local one, or is known to nobody here.
        faults: C2PA's codes of what does not fit.
        generator: Software that made the claim.
        actions: What it says was done, such as `c2pa.created`.
        ingredients: Names of the files that went in.
        generation: How mcm made it, if mcm did.
    """

    state: State
    signer: str = ""
    trust: Trust = "untrusted"
    faults: list[str] = field(default_factory=list)
    generator: str = ""
    actions: list[str] = field(default_factory=list)
    ingredients: list[str] = field(default_factory=list)
    generation: dict[str, Any] | None = None


def inspect_manifest(path: Path, rules: ProvenanceSection) -> ManifestReport:
    """Read the manifest of any file, in it or beside it; what is no media file has none."""
    import c2pa

    with path.open("rb") as file:
        kind = media_type(file.read(HEAD))
    sidecar = read_sidecar(path)
    if sidecar is None and not holds_manifest(kind):
        return ManifestReport("absent" if seal_state(path) is None else "altered")
    anchors = _anchors(rules)
    try:
        store = _read(path, kind, sidecar, anchors)
        trust: Trust = "trusted" if store["validation_state"] == "Trusted" else "untrusted"
        own = local_folder() / ROOT
        if trust == "untrusted" and own.is_file():
            again = _read(path, kind, sidecar, own.read_text())
            trust = "this machine" if again["validation_state"] == "Trusted" else trust
        return _report(store, trust, kind == "video/mp4" and seal_state(path) is not True)
    except (c2pa.C2paError, ValueError, LookupError, TypeError, AttributeError) as error:
        return _without(path, error)


def _read(path: Path, kind: str, sidecar: bytes | None, anchors: str) -> dict[str, Any]:
    import c2pa

    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if anchors:
        settings["trust"] = {"user_anchors": anchors}
    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    readable = kind if holds_manifest(kind) else OPAQUE
    with (
        path.open("rb") as content,
        c2pa.Reader(readable, content, manifest_data=sidecar, context=context) as reader,
    ):
        return {"validation_state": "Invalid", **json.loads(reader.json())}


def _report(store: dict[str, Any], trust: Trust, unsealed: bool) -> ManifestReport:
    manifest = store["manifests"][store["active_manifest"]]
    assertions = {entry["label"]: entry["data"] for entry in manifest.get("assertions", [])}
    actions = assertions.get("c2pa.actions.v2") or assertions.get("c2pa.actions") or {}
    agents = manifest.get("claim_generator_info") or [{}]
    own = assertions.get(GENERATION)
    faults = [entry["code"] for entry in store.get("validation_status") or []]
    faults = [code for code in faults if code != _UNTRUSTED]
    if own is not None and unsealed:
        faults.append("mcm.seal.mismatch")
    invalid = store["validation_state"] == "Invalid" or faults
    signature = manifest.get("signature_info") or {}
    return ManifestReport(
        state="altered" if invalid else "valid",
        signer=signature.get("common_name") or signature.get("issuer") or "",
        trust=trust,
        faults=faults,
        generator=" ".join(filter(None, (agents[0].get("name"), agents[0].get("version")))),
        actions=[action["action"] for action in actions.get("actions", [])],
        ingredients=[entry.get("title", "") for entry in manifest.get("ingredients") or []],
        generation=None if own is None else own.get("generation"),
    )


def _without(path: Path, error: Exception) -> ManifestReport:
    """Tell a file that never had a manifest from one whose manifest no longer reads."""
    if seal_state(path) is not None or _has_trace(path):
        return ManifestReport("altered", faults=[type(error).__name__.removeprefix("_")])
    return ManifestReport("absent")


def _has_trace(path: Path) -> bool:
    """Whether the head of a C2PA box stands anywhere in the file."""
    before = b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if any(trace in before + piece for trace in _TRACES):
                return True
            before = piece[-_LONGEST_TRACE:]
    return False


def _anchors(rules: ProvenanceSection) -> str:
    return "\n".join(read_pem(path).decode("ascii", "replace") for path in rules.anchors)
