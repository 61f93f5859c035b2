"""Wrap the key of a file so that the holder of another key can read it, and unwrap it.

By AES-KW (RFC 3394) with a symmetric key; to the public half of an X25519 pair by HPKE
(RFC 9180, base mode: X25519, HKDF-SHA256, AES-256-GCM).
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from interlock_agents.encryption.errors import WrongKeyError
from interlock_agents.encryption.header import Method, Recipient
from interlock_agents.encryption.keys import KEY_BYTES, Key, KeyKind
from interlock_agents.encryption.secret import Secret

SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_INFO: Final = b"interlock encryption 1 data key "


def wrap(data_key: Secret, key: Key) -> Recipient:
    """Return the data key as only the holder of `key` can read it."""
    if key.kind is KeyKind.AES256:
        wrapped = aes_key_wrap(bytes(key.material.content), bytes(data_key.content))
        return Recipient(Method.AES_KW, key.id, wrapped)
    wrapped = SUITE.encrypt(data_key.content, key.x25519_public(), info_of(key.id))
    return Recipient(Method.HPKE_X25519, key.id, wrapped)


def unwrap(recipient: Recipient, key: Key) -> Secret:
    """Return the data key. Raise WrongKeyError where this key does not give it."""
    try:
        content = bytearray(_unwrapped(recipient, key))
    except (InvalidUnwrap, InvalidTag, ValueError):
        content = bytearray()
    if len(content) != KEY_BYTES:
        raise WrongKeyError(
            f"key '{key.id}' does not open it: it is not the key that it was encrypted for, "
            "or the file's header is damaged"
        )
    return Secret(content)


def info_of(key_id: str) -> bytes:
    """Return what HPKE binds a wrapped key to besides the key that it is for."""
    return _INFO + key_id.encode()


def _unwrapped(recipient: Recipient, key: Key) -> bytes:
    if recipient.method is Method.AES_KW and key.kind is KeyKind.AES256:
        return aes_key_unwrap(bytes(key.material.content), recipient.wrapped)
    if recipient.method is Method.HPKE_X25519 and key.kind is KeyKind.X25519:
        return SUITE.decrypt(recipient.wrapped, key.x25519_private(), info_of(recipient.key_id))
    raise WrongKeyError(
        f"key '{key.id}' does not open it: its kind is {key.kind.value}, "
        "and the file was encrypted for one of another kind"
    )
