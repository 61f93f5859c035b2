"""The keys that sign and verify: ECDSA on three curves as the format has it, and Ed25519."""

import hashlib
from collections.abc import Mapping
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from interlock_agents.signing.errors import SignatureError

PublicKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey
PrivateKey: TypeAlias = EllipticCurvePrivateKey | Ed25519PrivateKey

KINDS: Final = "ECDSA on P-256, P-384 or P-521, or Ed25519"

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def as_public_key(key: object) -> PublicKey:
    """Return a key that can verify. Raise SignatureError for one of another kind."""
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _HASHES:
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise SignatureError(f"a key of another kind than {KINDS}")


def read_public_key(pem: bytes) -> PublicKey:
    """Return the public key in a text. Raise SignatureError."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError("a public key that cannot be read") from None
    return as_public_key(key)


def read_private_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """Return the private key in a text. Raise SignatureError, also for a wrong passphrase."""
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError:
        needs = "needs a passphrase" if passphrase is None else "has no passphrase"
        raise SignatureError(f"the private key {needs}") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "" if passphrase is None else ", or not with this passphrase"
        raise SignatureError(f"a private key that cannot be read{hint}") from None
    if isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        as_public_key(key.public_key())
        return key
    raise SignatureError(f"a key of another kind than {KINDS}")


def sign(key: PrivateKey, content: bytes) -> bytes:
    """Return the signature of some bytes."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(content)
    return key.sign(content, ECDSA(_HASHES[key.curve.name]))


def is_signed(key: PublicKey, signature: bytes, content: bytes) -> bool:
    """Return whether a signature of some bytes was made with the other half of a key."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, content)
        else:
            key.verify(signature, content, ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature:
        return False
    return True


def fingerprint(key: PublicKey) -> str:
    """Return by what a bundle names the key: the SHA-256 of its PEM text."""
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()
