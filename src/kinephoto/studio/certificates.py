"""Who signs: a throw-away development certificate, or the user's own certificate and key.

A development certificate is made anew for each run, with a key that is never stored, so that there is
nothing to steal and nothing that could be mistaken for an identity. What C2PA asks of certificates is in its
specification 2.2, section 14.5 (X.509 certificates).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinephoto.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509

LABEL = "kinephoto development certificate, not a proof of identity"
_ROOT_LABEL = "kinephoto development root, not a proof of identity"
INSTALL = "pip install 'kinephoto[provenance]'"
_DAYS = 3650  # without a time stamp a signature holds no longer than its certificate


@dataclass(frozen=True)
class Signer:
    """What signs Content Credentials.

    Attributes:
        chain_pem: the certificates, the signer's own first.
        key_pem: its private key, PKCS #8.
        algorithm: C2PA's name of the signature, such as "es256".
        name: for messages.
        photo: the file that the film was made from, to be named in the manifest; None if there is none.
    """

    chain_pem: bytes
    key_pem: bytes
    algorithm: str
    name: str
    photo: Path | None = None


def development_signer() -> Signer:
    """A signer whose certificate says that it proves nothing.

    Raises:
        InputError: the package cryptography is missing.
    """
    _check_installed()
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate(_ROOT_LABEL, root_key.public_key(), None, root_key)
    own = _certificate(LABEL, key.public_key(), root, root_key)
    return Signer(_pem([own, root]), _key_pem(key), "es256", LABEL)


def signer_from(certificates: str | Path, key: str | Path) -> Signer:
    """A signer from two PEM files.

    Args:
        certificates: the signer's own certificate first, then those that lead towards its root.
        key: the private key of the first, without a passphrase.

    Raises:
        InputError: a file that can't be read, a key of another certificate, a certificate that isn't valid
            now or that C2PA doesn't take, or a missing package.
    """
    _check_installed()
    from cryptography import x509

    text = _read(certificates)
    try:
        chain = x509.load_pem_x509_certificates(text)
    except ValueError:
        raise InputError(f"{certificates} holds no certificates in PEM form.") from None
    loaded = _loaded_key(key)
    if loaded.public_key() != chain[0].public_key():
        raise InputError(f"{key} is not the key of the first certificate in {certificates}.")
    _check_dates(chain[0], certificates)
    return Signer(_pem(chain), _key_pem(loaded), _algorithm(loaded, key), str(certificates))


def _check_installed() -> None:
    from importlib.util import find_spec

    if find_spec("c2pa") is None or find_spec("cryptography") is None:
        raise InputError(f"Content Credentials need c2pa-python and cryptography: {INSTALL}.")


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _loaded_key(path: str | Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = _read(path)
    try:
        return load_pem_private_key(text, password=None)
    except TypeError:
        raise InputError(
            f"{path} is locked by a passphrase; openssl pkey -in {path} -out unlocked.pem takes it off."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{path} holds no private key in PEM form.") from None


def _check_dates(certificate: x509.Certificate, path: str | Path) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    if certificate.not_valid_after_utc < now:
        raise InputError(f"The certificate in {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}.")
    if certificate.not_valid_before_utc > now:
        raise InputError(
            f"The certificate in {path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}."
        )


def _algorithm(key: Any, path: str | Path) -> str:
    """C2PA's name of what a key of this kind signs with (its specification, section 13.2)."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise InputError(
        f"C2PA knows no signature for the key in {path}; it takes P-256, P-384, P-521, Ed25519, "
        "and RSA from 2048 bits."
    )


def _certificate(name: str, public_key: Any, issuer: x509.Certificate | None, issuer_key: Any) -> Any:
    """A root where there is no issuer, else a certificate for signing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    is_root = issuer is None
    organisation = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "kinephoto")
    subject = x509.Name([organisation, x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(_usage(is_root), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(identifier, critical=False)
    )
    if not is_root:
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(is_root: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(chain: list[Any]) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
