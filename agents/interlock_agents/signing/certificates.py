"""Decide whether a signer's certificate counts: it is valid now, is for signing, is trusted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.keys import PublicKey

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

_SIGNING: Final = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def read_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Return certificates in DER. Raise SignatureError where one cannot be read."""
    try:
        certificates = [x509.load_der_x509_certificate(one) for one in chain]
        for one in certificates:
            _check_extensions(one)
    except ValueError:
        raise SignatureError("a certificate that cannot be read") from None
    return certificates


def check_chain(
    chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate], now: datetime
) -> None:
    """Raise SignatureError unless the first of the chain may sign, and is trusted.

    It is where it is one of those that are trusted itself, or was issued by one of them,
    through any number of others in the chain.
    """
    signer, *others = chain
    # In words of our own before the whole chain is judged, which says less.
    for one in chain:
        _check_time(one, now)
    _check_usage(signer)
    if signer in trusted:
        return
    # One that is out of its time must not keep the others from being tried.
    usable = [one for one in trusted if _is_in_time(one, now)]
    if not usable:
        raise SignatureError(f"no trusted certificate is valid for {_called(signer)}")
    authorities = ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, Criticality.AGNOSTIC, None
    )
    authorities = authorities.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_issue)
    builder = PolicyBuilder().store(Store(usable)).time(now)
    builder = builder.extension_policies(
        ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all()
    )
    try:
        builder.build_client_verifier().verify(signer, others)
    except VerificationError as error:
        raise SignatureError(
            f"{_called(signer)} was not issued by a trusted one ({_last_part(error)})"
        ) from None


def chain_for(key: PublicKey, texts: Sequence[bytes]) -> list[bytes]:
    """Return certificates in DER, as a signature carries them, from PEM texts in that order.

    Raise SignatureError unless the first of them is the key's.
    """
    try:
        chain = [one for text in texts for one in x509.load_pem_x509_certificates(text)]
    except ValueError:
        raise SignatureError("a certificate that cannot be read") from None
    if chain and chain[0].public_key() != key:
        raise SignatureError(f"the first, {_called(chain[0])}, is not that of the key")
    return [one.public_bytes(Encoding.DER) for one in chain]


def subject_of(certificate: x509.Certificate) -> str:
    """Return whose certificate it is, as in RFC 4514: "CN=release,O=Example"."""
    return certificate.subject.rfc4514_string()


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        end = f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        raise SignatureError(f"{_called(certificate)} has expired on {end}")
    if now < certificate.not_valid_before_utc:
        start = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
        raise SignatureError(f"{_called(certificate)} is not valid before {start}")


def _is_in_time(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _check_usage(certificate: x509.Certificate) -> None:
    usage = _extension(certificate, x509.KeyUsage)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    is_for_signatures = usage is None or usage.digital_signature
    is_for_code = purposes is None or bool(_SIGNING & set(purposes))
    if (usage is None and purposes is None) or not is_for_signatures or not is_for_code:
        raise SignatureError(
            f"{_called(certificate)} is not for signing: its key usage must have "
            "digitalSignature, and its extended key usage, if any, codeSigning"
        )


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_extensions(certificate: x509.Certificate) -> None:
    """Raise SignatureError for what must be understood, and is not."""
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            oid = extension.oid.dotted_string
            raise SignatureError(f"{_called(certificate)} has an unknown critical extension {oid}")


def _may_issue(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer's certificate is not for issuing")


def _called(certificate: x509.Certificate) -> str:
    return f"certificate '{subject_of(certificate)}'"


def _last_part(error: VerificationError) -> str:
    text = str(error).removeprefix("validation failed: ").removeprefix("candidates exhausted: ")
    return "no chain leads to one" if text.startswith("all candidates") else text
