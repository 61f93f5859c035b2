"""Keys: which of them sign, and how they are told apart."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from interlock_agents.signing.errors import SignatureError
from interlock_agents.signing.keys import (
    fingerprint,
    is_signed,
    read_private_key,
    read_public_key,
    sign,
)
from tests.support.signing import KEYS, OTHER, P256, private_pem, public_pem


@pytest.mark.parametrize("kind", KEYS)
def test_what_is_signed_can_be_verified(kind: str) -> None:
    key = read_private_key(private_pem(KEYS[kind]))
    public = read_public_key(public_pem(key))
    signature = sign(key, b"content")

    assert is_signed(public, signature, b"content")
    assert not is_signed(public, signature, b"contents")
    assert not is_signed(public, b"", b"content")
    assert not is_signed(public, bytes([signature[0] ^ 1, *signature[1:]]), b"content")
    assert not is_signed(OTHER.public_key(), signature, b"content")


def test_a_key_is_known_by_its_text() -> None:
    assert fingerprint(P256.public_key()) == hashlib.sha256(public_pem(P256)).hexdigest()


def test_keys_of_other_kinds_are_refused() -> None:
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP256K1()),
    ):
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(SignatureError, match="another kind than ECDSA on P-256, P-384"):
            read_private_key(private)
        with pytest.raises(SignatureError, match="another kind than ECDSA on P-256, P-384"):
            read_public_key(public)


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(SignatureError, match="a public key that cannot be read"):
        read_public_key(private_pem(P256))
    with pytest.raises(SignatureError, match=r"a private key that cannot be read$"):
        read_private_key(public_pem(P256))


def test_a_passphrase_is_needed_where_there_is_one() -> None:
    locked = private_pem(P256, b"open sesame")

    assert read_private_key(locked, b"open sesame").private_numbers() == P256.private_numbers()  # type: ignore[union-attr]
    with pytest.raises(SignatureError, match="the private key needs a passphrase"):
        read_private_key(locked)
    with pytest.raises(SignatureError, match="cannot be read, or not with this passphrase"):
        read_private_key(locked, b"wrong")
    with pytest.raises(SignatureError, match="the private key has no passphrase"):
        read_private_key(private_pem(P256), b"open sesame")
