"""Certificates: in their time, for signing, and issued by who is trusted."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from interlock_agents.signing.certificates import chain_for, check_chain, read_chain, subject_of
from interlock_agents.signing.errors import SignatureError
from tests.support.signing import (
    ED25519,
    ISSUER,
    NOW,
    OTHER,
    RELEASE,
    ROOT,
    Owner,
    certified,
    usage,
)

SIGNS = usage(signs=True, issues=False)


def check(chain: Sequence[Owner], *roots: Owner) -> None:
    read = read_chain([one.der for one in chain])
    check_chain(read, [root.certificate for root in roots], NOW)


def refusal(chain: Sequence[Owner], *roots: Owner) -> str:
    with pytest.raises(SignatureError) as refused:
        check(chain, *roots)
    return str(refused.value)


def test_a_chain_that_leads_to_a_trusted_certificate_counts() -> None:
    check([RELEASE, ISSUER], ROOT)
    check([RELEASE, ISSUER, ROOT], ROOT)
    check([RELEASE], ISSUER)
    check([RELEASE], certified("other", is_authority=True), ISSUER)


def test_a_certificate_that_is_trusted_itself_counts() -> None:
    check([RELEASE], RELEASE)
    check([alone := certified("alone")], alone)


def test_others_do_not() -> None:
    stranger = certified("issuer", certified("root", is_authority=True), is_authority=True)

    assert refusal([RELEASE], ROOT) == (
        "certificate 'CN=release' was not issued by a trusted one (no chain leads to one)"
    )
    assert "was not issued by a trusted one" in refusal([certified("release", stranger)], ISSUER)
    assert "was not issued by a trusted one" in refusal([certified("alone")], ROOT)
    assert "was not issued" in refusal([certified("x", stranger), stranger], ROOT)


def test_a_certificate_beyond_its_time_does_not() -> None:
    day = timedelta(days=1)
    late = certified("late", ISSUER, end=NOW - day)
    early = certified("early", ISSUER, start=NOW + day)
    old = certified("old", ROOT, is_authority=True, end=NOW - day)

    assert refusal([late, ISSUER], ROOT) == (
        "certificate 'CN=late' has expired on 2030-05-31 12:00:00 UTC"
    )
    assert refusal([late], late) == "certificate 'CN=late' has expired on 2030-05-31 12:00:00 UTC"
    assert refusal([early], ISSUER) == (
        "certificate 'CN=early' is not valid before 2030-06-02 12:00:00 UTC"
    )
    assert "'CN=old' has expired" in refusal([certified("x", old), old], ROOT)
    assert refusal([certified("x", old)], old) == (
        "no trusted certificate is valid for certificate 'CN=x'"
    )


def test_an_expired_certificate_beside_a_good_one_does_no_harm() -> None:
    old = certified("root", is_authority=True, end=NOW - timedelta(days=1))

    check([RELEASE, ISSUER], old, ROOT)


@pytest.mark.parametrize(
    "extensions",
    [
        [SIGNS],
        [x509.ExtendedKeyUsage([Purpose.CODE_SIGNING])],
        [SIGNS, x509.ExtendedKeyUsage([Purpose.CODE_SIGNING, Purpose.CLIENT_AUTH])],
        [SIGNS, x509.ExtendedKeyUsage([Purpose.ANY_EXTENDED_KEY_USAGE])],
    ],
)
def test_a_certificate_for_signing_counts(extensions: list[x509.ExtensionType]) -> None:
    check([certified("x", ISSUER, extensions=extensions)], ISSUER)


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [usage(signs=False, issues=True)],
        [x509.ExtendedKeyUsage([Purpose.SERVER_AUTH])],
        [SIGNS, x509.ExtendedKeyUsage([Purpose.SERVER_AUTH])],
        [usage(signs=False, issues=True), x509.ExtendedKeyUsage([Purpose.CODE_SIGNING])],
    ],
)
def test_a_certificate_for_something_else_does_not(extensions: list[x509.ExtensionType]) -> None:
    assert "certificate 'CN=x' is not for signing: its key usage must have" in refusal(
        [certified("x", ISSUER, extensions=extensions)], ISSUER
    )


def test_only_authorities_issue() -> None:
    for middle in (
        certified("middle", ROOT),
        certified("middle", ROOT, is_authority=True, extensions=[SIGNS]),
    ):
        assert "was not issued by a trusted one" in refusal([certified("x", middle), middle], ROOT)


def test_an_extension_that_must_be_understood_and_is_not_is_refused() -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

    assert refusal([certified("x", ISSUER, has_critical=odd)], ISSUER) == (
        "certificate 'CN=x' has an unknown critical extension 1.2.3.4"
    )


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(SignatureError, match="a certificate that cannot be read"):
        read_chain([b"none"])
    with pytest.raises(SignatureError, match="a certificate that cannot be read"):
        chain_for(RELEASE.key.public_key(), [b"none"])


def test_a_chain_begins_with_the_certificate_of_the_key() -> None:
    texts = [RELEASE.pem, ISSUER.pem]

    assert chain_for(RELEASE.key.public_key(), texts) == [RELEASE.der, ISSUER.der]
    assert chain_for(RELEASE.key.public_key(), [b"".join(texts)]) == [RELEASE.der, ISSUER.der]
    assert chain_for(RELEASE.key.public_key(), []) == []
    with pytest.raises(SignatureError, match="the first, certificate 'CN=release', is not that"):
        chain_for(OTHER.public_key(), texts)


def test_a_signer_may_have_an_ed25519_key_and_an_authority_may_not() -> None:
    authority = certified("root", is_authority=True, key=ED25519)

    check([certified("x", ISSUER, key=ED25519), ISSUER], ROOT)
    assert "was not issued by a trusted one" in refusal([certified("x", authority)], authority)


def test_a_certificate_is_called_by_its_subject() -> None:
    assert subject_of(RELEASE.certificate) == "CN=release"
