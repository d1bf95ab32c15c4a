"""Signing: a C2PA manifest in a file, or beside it where its format has no room."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mcm.errors import UserError
from mcm.safety.credentials import Credentials, credentials, replaceable
from mcm.safety.formats import (
    HEAD,
    OPAQUE,
    SIDECAR_TYPE,
    holds_manifest,
    media_type,
    read_sidecar,
)
from mcm.safety.inspection import inspect_manifest
from mcm.safety.manifest import definition, parent
from mcm.safety.policy import ProvenanceSection
from mcm.safety.seal import seal, sealed
from mcm.safety.signer import make_signer

if TYPE_CHECKING:
    import c2pa

_SIDECAR = "source.c2pa"
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True)
class _Edited:
    """A file that was edited, and what our own assertion says of it and of its manifest."""

    file: Path
    facts: dict[str, str]


def sign_file(
    path: Path,
    title: str,
    facts: Mapping[str, Any],
    rules: ProvenanceSection,
    source: Path | None = None,
) -> bytes | None:
    """Sign a finished file, or a folder of finished files.

    Args:
        path: File, which is replaced, or folder of them.
        title: Name under which the file will be known.
        facts: What its manifest says of how it was made; JSON-ready.
        rules: Who signs.
        source: File that was edited; its manifest, in it or beside it, is kept as an ingredient's.

    Returns:
        The manifest to put beside the file, where the format cannot hold it.

    Raises:
        UserError: The certificate or key does not serve.
    """
    signers, edited = credentials(rules), _edited(source, rules)
    if path.is_dir():
        for file in sorted(path.iterdir()):
            _sign(file, f"{title}/{file.name}", facts, signers, rules, edited)
        return None
    return _sign(path, title, facts, signers, rules, edited)


def _sign(
    path: Path,
    title: str,
    facts: Mapping[str, Any],
    who: Credentials,
    rules: ProvenanceSection,
    edited: _Edited | None,
) -> bytes | None:
    import c2pa

    kind = _type_of(path)
    embed = holds_manifest(kind)
    signed = path.with_name(f"{path.name}.signed")
    claims = definition(title, kind, facts, edited.facts if edited else None)
    try:
        with replaceable(who.local), _told(title, who, rules):
            context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
            with c2pa.Builder(claims, context=context) as builder:
                if edited is not None:
                    _add_parent(builder, edited.file)
                with path.open("rb") as content, signed.open("w+b") as target:
                    if not embed:
                        builder.set_no_embed()
                    written: BinaryIO = target if embed else io.BytesIO()
                    signer = make_signer(who, rules)
                    manifest = builder.sign(signer, kind if embed else OPAQUE, content, written)
        if embed:
            signed.replace(path)
    finally:
        signed.unlink(missing_ok=True)
    if not embed:
        return sealed(bytes(manifest), SIDECAR_TYPE)
    seal(path, kind)
    return None


@contextmanager
def _told(title: str, who: Credentials, rules: ProvenanceSection) -> Iterator[None]:
    """Tell what C2PA does not accept as a fault of the certificate or the key."""
    import c2pa

    try:
        yield
    except c2pa.C2paError as error:
        whose = "the local signer" if who.local else str(rules.certificate)
        raise UserError(
            f"provenance: {title} cannot be signed with {whose} ({error}); expected a key and "
            "a chain of certificates that fit together and that C2PA accepts"
        ) from None


def _add_parent(builder: c2pa.Builder, source: Path) -> None:
    """Add what was edited with its chain; a format that c2pa cannot read is told by its hash."""
    import c2pa

    kind = _type_of(source)
    described = parent(source.name, kind)
    readable = kind if holds_manifest(kind) else OPAQUE
    with source.open("rb") as content:
        try:
            if (sidecar := read_sidecar(source)) is not None:
                described |= _beside(content, readable, sidecar)
                builder.add_resource(_SIDECAR, io.BytesIO(sidecar))
            builder.add_ingredient(json.dumps(described), readable, content)
        except (c2pa.C2paError, OSError):
            plain = json.dumps(parent(source.name, kind))
            builder.add_ingredient(plain, OPAQUE, io.BytesIO())


def _beside(content: BinaryIO, readable: str, sidecar: bytes) -> dict[str, Any]:
    """Return what an ingredient says of the manifest beside it, and how that fitted its file."""
    import c2pa

    context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
    with c2pa.Reader(readable, content, manifest_data=sidecar, context=context) as reader:
        active = json.loads(reader.json())["active_manifest"]
        results = reader.get_validation_results()
    content.seek(0)
    data = {"format": SIDECAR_TYPE, "identifier": _SIDECAR}
    return {"manifest_data": data, "active_manifest": active, "validation_results": results}


def _edited(source: Path | None, rules: ProvenanceSection) -> _Edited | None:
    """Look at the file that was edited, once for all the files made of it."""
    if source is None:
        return None
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"provenance: {source}, which was edited, cannot be read ({error.strerror}); leave it "
            "where it was until the clip is saved"
        ) from None
    state = inspect_manifest(source, rules).state
    return _Edited(source, {"name": source.name, "sha256": digest, "manifest": state})


def _type_of(path: Path) -> str:
    with path.open("rb") as file:
        return media_type(file.read(HEAD))
