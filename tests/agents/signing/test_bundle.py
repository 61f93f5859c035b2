"""Bundles: what is written is read, and nothing else is."""

import json
from typing import Any

import pytest

from interlock_agents.signing.bundle import (
    MAX_CERTIFICATES,
    MAX_COMMAS,
    Bundle,
    parse,
    signed_bytes,
)
from interlock_agents.signing.errors import SignatureError, UnsupportedSignatureError

BY_KEY = Bundle(b"payload", b"signature", hint="ab12")
BY_CERTIFICATE = Bundle(b"payload", b"signature", certificates=(b"mine", b"above"))


def changed(bundle: Bundle, **fields: Any) -> bytes:
    return json.dumps({**json.loads(bundle.text()), **fields}).encode()


def changed_envelope(**fields: Any) -> bytes:
    envelope = json.loads(BY_KEY.text())["dsseEnvelope"]
    return changed(BY_KEY, dsseEnvelope={**envelope, **fields})


@pytest.mark.parametrize("bundle", [BY_KEY, BY_CERTIFICATE])
def test_what_is_written_is_read(bundle: Bundle) -> None:
    assert parse(bundle.text()) == bundle


def test_a_bundle_need_not_tell_its_key() -> None:
    content = changed(BY_KEY, verificationMaterial={"publicKey": {"hint": None}})

    assert parse(content).hint == ""


def test_the_payload_is_signed_with_its_type_and_length() -> None:
    assert signed_bytes(b"{} ") == b"DSSEv1 28 application/vnd.in-toto+json 3 {} "


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "'mediaType' is no text"),
        (changed(BY_KEY, dsseEnvelope=None), "'dsseEnvelope' is no object"),
        (changed(BY_KEY, verificationMaterial=[]), "'verificationMaterial' is no object"),
        (changed_envelope(payload="a"), "'payload' is not base64"),
        (changed_envelope(payload="YW Jj"), "'payload' is not base64"),
        (changed_envelope(payload="ä"), "'payload' is not base64"),
        (changed_envelope(signatures=[]), "the bundle has 0 signatures, and not one"),
        (changed_envelope(signatures=[{}, {}]), "the bundle has 2 signatures, and not one"),
        (changed_envelope(signatures=[{}]), "'sig' is no text"),
        (
            changed(BY_KEY, verificationMaterial={"x509CertificateChain": {"certificates": []}}),
            "a chain of 0 certificates; there must be 1 to 16",
        ),
        (
            Bundle(b"", b"", certificates=(b"x",) * (MAX_CERTIFICATES + 1)).text(),
            "a chain of 17 certificates; there must be 1 to 16",
        ),
        (b"[" + b"1," * (MAX_COMMAS + 1), "the bundle holds too many values to be one"),
    ],
)
def test_what_is_no_bundle_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(SignatureError) as refused:
        parse(content)

    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (changed(BY_KEY, mediaType="x/v9"), "a bundle of type 'x/v9', not"),
        (changed_envelope(payloadType="text/plain"), "a payload of type 'text/plain'"),
        (
            changed(BY_KEY, verificationMaterial={"certificate": {"rawBytes": ""}}),
            "signed neither with a key nor with a chain of certificates",
        ),
        (
            json.dumps({"mediaType": json.loads(BY_KEY.text())["mediaType"]}).encode(),
            "the bundle has no DSSE envelope",
        ),
    ],
)
def test_a_bundle_of_another_kind_is_told_from_a_bad_one(content: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedSignatureError, match=reason):
        parse(content)
