"""Who signs: the user's certificate, or a local one that only this machine knows.

The local signer is a certificate under a root of its own, both made at first use. The root's key
is thrown away at once, so the root vouches for this signer and for nothing else.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mcm.errors import UserError
from mcm.safety.home import home, made_home, read_private, unusable, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from mcm.safety.policy import ProvenanceSection

CHAIN, KEY, ROOT = "chain.pem", "key.pem", "root.pem"
_ORGANISATION = "mcm local signer (trusted by this machine only)"
_YEARS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """A certificate with its key.

    Attributes:
        chain: PEM of the signer's certificate and those above it.
        key: PEM of its private key; never printed.
        local: Whether it was made on this machine.
    """

    chain: bytes
    key: bytes
    local: bool

    def __repr__(self) -> str:
        return f"Credentials(local={self.local})"


def credentials(rules: ProvenanceSection) -> Credentials:
    """Return who signs under a policy.

    Raises:
        UserError: A file is missing, a key is open to other users, or the local signer cannot be
            made.
    """
    if rules.certificate is not None and rules.key is not None:
        if rules.timestamps is None:
            _warn_once(rules.certificate)
        return Credentials(read_pem(rules.certificate), _read_key(rules.key), local=False)
    folder = local_folder()
    try:
        if not folder.is_dir():
            made_home()
            _make(folder)
    except OSError as error:
        raise unusable(folder, "local signer", error) from None
    with replaceable(local=True):
        return Credentials(read_pem(folder / CHAIN), _read_key(folder / KEY), local=True)


@contextmanager
def replaceable(local: bool) -> Iterator[None]:
    """Say with every `UserError` of the local signer that another can be made."""
    try:
        yield
    except UserError as error:
        if not local:
            raise
        raise UserError(
            f"{error}; or move the folder {local_folder()} away: a new local signer is made then, "
            "and what the old one signed is no longer known as this machine's"
        ) from None


@cache
def _warn_once(certificate: Path) -> None:
    """Warn, once a process, that files signed with a certificate will outlive it."""
    _log.warning(
        "mcm: warning: provenance.timestamps: not set, so that nothing shows that a file was "
        "signed before the certificate %s expired; name a time-stamping authority (RFC 3161)",
        certificate,
    )


def local_folder() -> Path:
    """Return the folder of the local signer, which may not be there yet."""
    return home() / "credentials"


def read_pem(path: Path) -> bytes:
    """Return the content of a PEM file.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(
            f"provenance: {path} cannot be read ({error.strerror}); expected a PEM file"
        ) from None


def _read_key(path: Path) -> bytes:
    """Return the PEM of a private key, which must be its owner's alone."""
    try:
        return read_private(path.expanduser())
    except OSError as error:
        raise UserError(f"provenance: the key {path} cannot be read ({error.strerror})") from None


def _make(folder: Path) -> None:
    """Make root and signer; of two processes at once the first one's stand."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root, signer = _certificate(root_key, root_key), _certificate(key, root_key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = Path(tempfile.mkdtemp(prefix=".credentials", dir=folder.parent))
    write_private(partial / KEY, private)
    pem = root.public_bytes(Encoding.PEM)
    write_private(partial / CHAIN, signer.public_bytes(Encoding.PEM) + pem)
    write_private(partial / ROOT, pem)
    try:
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial)
        if not folder.is_dir():
            raise


def _certificate(
    key: EllipticCurvePrivateKey, root_key: EllipticCurvePrivateKey
) -> x509.Certificate:
    """Return the root's certificate, or the signer's, with what C2PA asks of each."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    is_root = key is root_key
    authority = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("root" if is_root else "signer"))
        .issuer_name(_name("root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(_usage(signs_certificates=is_root), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_root:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority)
        builder = builder.add_extension(purpose, critical=False)
        builder = builder.add_extension(issuer, critical=False)
    return builder.sign(root_key, hashes.SHA256())


def _name(role: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"mcm local {role}"),
        ]
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
