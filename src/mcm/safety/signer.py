"""The signer of a key: which of C2PA's algorithms its kind asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcm.errors import UserError
from mcm.safety.credentials import CHAIN, KEY, Credentials, local_folder
from mcm.safety.policy import ProvenanceSection

if TYPE_CHECKING:
    import c2pa
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

KINDS = "ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more"
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_LEAST_RSA = 2048


def make_signer(who: Credentials, rules: ProvenanceSection) -> c2pa.Signer:
    """Return the signer of credentials.

    Raises:
        UserError: The key cannot be read, is of a kind that C2PA does not allow, or is not that of
            the certificate.
        c2pa.C2paError: C2PA does not accept the certificate.
    """
    import c2pa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(who.key, None)
        algorithm = c2pa.C2paSigningAlg[_algorithm(key)]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"provenance.key: {rules.key or local_folder() / KEY} cannot sign ({error}); expected "
            f"the PEM of a private key without a passphrase: {KINDS}"
        ) from None
    _check_pair(who, key, rules)
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    info = c2pa.C2paSignerInfo(algorithm, who.chain, content, rules.timestamps)
    return c2pa.Signer.from_info(info)


def _check_pair(who: Credentials, key: PrivateKeyTypes, rules: ProvenanceSection) -> None:
    """Compare the key with that in the first certificate; c2pa would sign with any."""
    from cryptography.x509 import load_pem_x509_certificates

    place = rules.certificate or local_folder() / CHAIN
    try:
        first = load_pem_x509_certificates(who.chain)[0]
    except ValueError as error:
        raise UserError(
            f"provenance.certificate: {place} cannot be read ({error}); expected PEM certificates, "
            "the signer's first"
        ) from None
    if first.public_key() != key.public_key():
        raise UserError(
            f"provenance.key: {rules.key or local_folder() / KEY} is not the key of the first "
            f"certificate in {place}; give the key that belongs to it"
        )


def _algorithm(key: PrivateKeyTypes) -> str:
    """Return C2PA's name of a key's algorithm.

    Raises:
        ValueError: It allows none.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA:
        return "PS256"
    raise ValueError("C2PA allows no key of this kind")
