"""The Sigstore bundle in `model.sig`: what was signed, the signature, by which key or certificate.

It says what it claims. Whether that is so is for `signers` and `statement` to say.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

from interlock_agents.signing.errors import SignatureError, UnsupportedSignatureError
from interlock_agents.signing.strict_json import as_list, as_object, as_text, parsed

MAX_BYTES: Final = 32 << 20
"""Of a bundle; 100,000 files take about 20 MB."""
MAX_CERTIFICATES: Final = 16
MAX_COMMAS: Final = 100_000
"""In a bundle, all whose bulk is base64: who has made it is not known before it is parsed, and
millions of values would take a hundred times the memory of their text."""

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A payload with one signature; `certificates` are in DER, the signer's first.

    `hint` is the fingerprint of the signer's key, "" where the bundle does not tell it.
    """

    payload: bytes
    signature: bytes
    hint: str = ""
    certificates: tuple[bytes, ...] = ()

    def signed_bytes(self) -> bytes:
        """Return what the signature is over: the payload behind its type and length (DSSE)."""
        return signed_bytes(self.payload)

    def text(self) -> bytes:
        """Return it as it stands in a file."""
        material: dict[str, object] = {"publicKey": {"hint": self.hint}, "tlogEntries": []}
        if self.certificates:
            chain = [{"rawBytes": _encoded(one)} for one in self.certificates]
            material = {"x509CertificateChain": {"certificates": chain}, "tlogEntries": []}
        envelope = {
            "payload": _encoded(self.payload),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": _encoded(self.signature), "keyid": ""}],
        }
        whole = {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        }
        return json.dumps(whole, separators=(",", ":")).encode()


def signed_bytes(payload: bytes) -> bytes:
    """Return what a signature of a payload is over."""
    head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def parse(content: bytes) -> Bundle:
    """Read a bundle. Raise SignatureError where it is none, or not of the kind that is known."""
    if content.count(b",") > MAX_COMMAS:
        raise SignatureError("the bundle holds too many values to be one")
    fields = parsed(content, what="the bundle")
    media_type = as_text(fields.get("mediaType"), "'mediaType'")
    if media_type != _MEDIA_TYPE:
        raise UnsupportedSignatureError(f"a bundle of type '{media_type}', not '{_MEDIA_TYPE}'")
    if "dsseEnvelope" not in fields:
        raise UnsupportedSignatureError("the bundle has no DSSE envelope")
    payload, signature = _envelope(as_object(fields["dsseEnvelope"], "'dsseEnvelope'"))
    material = as_object(fields.get("verificationMaterial"), "'verificationMaterial'")
    if "publicKey" in material:
        key = as_object(material["publicKey"], "'publicKey'")
        hint = key.get("hint") or ""
        return Bundle(payload, signature, hint=as_text(hint, "'hint'"))
    if "x509CertificateChain" in material:
        return Bundle(payload, signature, certificates=_chain(material["x509CertificateChain"]))
    raise UnsupportedSignatureError(
        "signed neither with a key nor with a chain of certificates, which alone are verified here"
    )


def _envelope(fields: dict[str, object]) -> tuple[bytes, bytes]:
    """Return the payload and its one signature."""
    payload_type = as_text(fields.get("payloadType"), "'payloadType'")
    if payload_type != _PAYLOAD_TYPE:
        raise UnsupportedSignatureError(f"a payload of type '{payload_type}'")
    signatures = as_list(fields.get("signatures"), "'signatures'")
    if len(signatures) != 1:
        raise SignatureError(f"the bundle has {len(signatures)} signatures, and not one")
    signature = as_object(signatures[0], "the signature")
    payload = _decoded(fields.get("payload"), "'payload'")
    return payload, _decoded(signature.get("sig"), "'sig'")


def _chain(value: object) -> tuple[bytes, ...]:
    chain = as_object(value, "'x509CertificateChain'")
    certificates = as_list(chain.get("certificates"), "'certificates'")
    if not 0 < len(certificates) <= MAX_CERTIFICATES:
        raise SignatureError(
            f"a chain of {len(certificates)} certificates; there must be 1 to {MAX_CERTIFICATES}"
        )
    return tuple(
        _decoded(as_object(one, "a certificate").get("rawBytes"), "'rawBytes'")
        for one in certificates
    )


def _decoded(value: object, what: str) -> bytes:
    try:
        return base64.b64decode(as_text(value, what), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError(f"{what} is not base64") from None


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
