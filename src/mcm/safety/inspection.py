"""Reading a manifest: is it there, does it fit the file, who vouches for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcm.errors import UserError
from mcm.safety.claims import ManifestReport, Trust, own_assertion, report
from mcm.safety.credentials import ROOT, local_folder, read_pem
from mcm.safety.formats import (
    HEAD,
    OPAQUE,
    SIDECAR_TYPE,
    UNKNOWN,
    holds_manifest,
    media_type,
    read_sidecar,
)
from mcm.safety.seal import BOXED, is_sealed, seal_fits

if TYPE_CHECKING:
    import c2pa

    from mcm.safety.policy import ProvenanceSection

_TRACE = re.compile(rb"jumb\0...jumdc2(pa|ma|as|cl|cs)|mcm seal sha256\0", re.DOTALL)
"""Heads of a manifest's boxes, of which one changed byte leaves others; the box of a seal."""
_LONGEST_TRACE = 18


def inspect_manifest(path: Path, rules: ProvenanceSection) -> ManifestReport:
    """Read the manifest in any file, or beside it if there is none in it.

    Raises:
        UserError: An authority that the policy names cannot be read.
    """
    try:
        return _inspected(path, rules)
    except OSError as error:
        where = Path(error.filename or path).name
        return ManifestReport("unknown", f"{where} cannot be read ({error.strerror or error})")


def _inspected(path: Path, rules: ProvenanceSection) -> ManifestReport:
    with path.open("rb") as file:
        kind = media_type(file.read(HEAD))
    embeds = holds_manifest(kind)
    if embeds:
        found = _told(path, kind, None, rules)
        if isinstance(found, ManifestReport):
            return found
        if _has_trace(path):
            return _unreadable(found)
    if (sidecar := read_sidecar(path)) is not None:
        found = _told(path, kind, sidecar, rules)
        if isinstance(found, ManifestReport):
            return found
        if not embeds or _TRACE.search(sidecar):
            return _unreadable(found)
    if embeds or not _has_trace(path):
        return ManifestReport("absent")
    if kind == UNKNOWN:
        return ManifestReport("altered", faults=["mcm.head.unknown"])
    return ManifestReport("unknown", f"it is not looked for in files of the type {kind}")


def _told(
    path: Path, kind: str, sidecar: bytes | None, rules: ProvenanceSection
) -> ManifestReport | Exception:
    """Return what a manifest says, or why it cannot be read."""
    import c2pa

    anchored, own = _anchored(rules), _own_context()
    try:
        store = _read(path, kind, sidecar, anchored)
        trust: Trust = "trusted" if store["validation_state"] == "Trusted" else "untrusted"
        if trust == "untrusted" and own is not None:
            again = _read(path, kind, sidecar, own)
            trust = "this machine" if again["validation_state"] == "Trusted" else trust
        return report(store, trust, _misses_seal(path, kind, sidecar, own_assertion(store)))
    except (c2pa.C2paError, ValueError) as error:
        return error


def _anchored(rules: ProvenanceSection) -> c2pa.Context:
    """Return the settings of a reader that trusts the policy's authorities."""
    import c2pa

    anchors = "\n".join(_certificates(path) for path in rules.anchors)
    try:
        return _context(anchors)
    except c2pa.C2paError as error:
        raise UserError(
            f"provenance.anchors: {', '.join(map(str, rules.anchors))} cannot be used ({error}); "
            "expected PEM files of certificates"
        ) from None


def _certificates(path: Path) -> str:
    found = read_pem(path).decode("ascii", "replace")
    if "-----BEGIN CERTIFICATE-----" not in found:
        raise UserError(
            f"provenance.anchors: {path} cannot be used (no certificate is in it); expected a PEM "
            "file of certificates"
        )
    return found


def _own_context() -> c2pa.Context | None:
    """Return the settings of a reader that trusts this machine's own signer, if there is one."""
    import c2pa

    try:
        return _context((local_folder() / ROOT).read_text())
    except (OSError, ValueError, c2pa.C2paError):
        return None


def _context(anchors: str) -> c2pa.Context:
    import c2pa

    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if anchors:
        settings["trust"] = {"user_anchors": anchors}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def _read(path: Path, kind: str, sidecar: bytes | None, context: c2pa.Context) -> dict[str, Any]:
    import c2pa

    readable = kind if holds_manifest(kind) else OPAQUE
    with (
        path.open("rb") as content,
        c2pa.Reader(readable, content, manifest_data=sidecar, context=context) as reader,
    ):
        return {"validation_state": "Invalid", **json.loads(reader.json())}


def _misses_seal(path: Path, kind: str, sidecar: bytes | None, own: Any) -> bool:
    """Whether a manifest of mcm promises a seal that is not there or does not fit."""
    promised = isinstance(own, dict) and "seal" in own
    if sidecar is not None:
        return promised and not seal_fits(sidecar, SIDECAR_TYPE)
    if kind in BOXED:
        return own is not None and not is_sealed(path, kind)
    return promised and not is_sealed(path, kind)


def _unreadable(error: Exception) -> ManifestReport:
    return ManifestReport("altered", faults=[type(error).__name__.removeprefix("_")])


def _has_trace(path: Path) -> bool:
    """Whether the head of a C2PA box, or of a seal, stands anywhere in the file."""
    before = b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if _TRACE.search(before + piece):
                return True
            before = piece[-_LONGEST_TRACE:]
    return False
