"""Whom the certificate of a client names."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from interlock.domain.cause import Actor
from interlock.frontend.caller import caller_of, subject_of
from tests.support.boundary import Authority

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(*names: x509.GeneralName, common_name: str = "") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("pem", "subject"),
    [
        pytest.param(Authority().issue("ops, and more").certificate, "CN=ops\\, and more", id="CN"),
        pytest.param(
            certificate(
                x509.UniformResourceIdentifier("spiffe://example/ops"), x509.DNSName("ops.example")
            ),
            "URI:spiffe://example/ops, DNS:ops.example",
            id="no subject",
        ),
        pytest.param(certificate(common_name="a\nb"), "CN=a\nb", id="a line's end"),
        pytest.param(b"", "", id="none"),
    ],
)
def test_a_certificate_names_whom_it_was_issued_to(pem: bytes, subject: str) -> None:
    assert subject_of({"x509_pem_cert": [pem]}) == subject


@pytest.mark.parametrize("pem", [b"no certificate", certificate()], ids=["broken", "nameless"])
def test_a_certificate_that_names_nobody_is_not_nobodys(pem: bytes) -> None:
    assert subject_of({"x509_pem_cert": [pem]}).startswith("a certificate that cannot be read: ")


class Context:
    """A call of a client without a certificate."""

    def peer(self) -> str:
        return "unix:/run/interlock"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"transport_security_type": [b"insecure"]}


def test_a_caller_without_a_certificate_is_known_by_address_and_key() -> None:
    assert caller_of(Context(), "triton-grpc-protocol-admin") == Actor(
        "unix:/run/interlock", "", "triton-grpc-protocol-admin"
    )
