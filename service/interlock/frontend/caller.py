"""Say who makes a call: the address, the client's certificate, the name of the key it has shown."""

from collections.abc import Iterable, Mapping
from typing import Final

import grpc
from cryptography import x509

from interlock.domain.cause import Actor

_Properties = Mapping[str, Iterable[bytes]]

_CERTIFICATE: Final = "x509_pem_cert"
"""Under which gRPC has the certificate of a client, once it has verified it."""


def caller_of(context: grpc.ServicerContext, key_name: str) -> Actor:
    """Return who makes a call that has passed the gate; `key_name` is what opened that."""
    # Its stubs know of one value for each name.
    properties: _Properties = context.auth_context()  # pyright: ignore[reportAssignmentType]
    return Actor(str(context.peer()), subject_of(properties), key_name)


def subject_of(properties: _Properties) -> str:
    """Return whom a client's certificate names, "" for a client without one.

    The subject as RFC 4514 writes it; where that is empty, the names that stand beside it.
    """
    pem = b"".join(properties.get(_CERTIFICATE, ()))
    if not pem:
        return ""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return certificate.subject.rfc4514_string() or _other_names(certificate)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        # Whom gRPC lets in without our being able to read his name is not to pass for nobody.
        return f"a certificate that cannot be read: {error}"


def _other_names(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return ", ".join(f"{_KINDS.get(type(name), 'name')}:{name.value}" for name in names)


_KINDS: Final[Mapping[type[x509.GeneralName], str]] = {
    x509.DNSName: "DNS",
    x509.UniformResourceIdentifier: "URI",
    x509.IPAddress: "IP",
    x509.RFC822Name: "email",
}
