"""Keys that wrap data keys: what kinds there are, and how they are written down.

One key is one line of ASCII, `ilk1:KIND:ID:HEX:CHECK`. The check tells a mistyped key from a
right one; it is no protection.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.header import KEY_ID
from interlock_agents.encryption.secret import Secret, wipe

KEY_BYTES: Final = 32
MAX_TEXT_BYTES: Final = 64 << 10
"""How long a text with keys in it may be."""

_MARK: Final = b"ilk1"
_DIGITS: Final = b"0123456789abcdef"
_CHECK_BYTES: Final = 4
_FIELDS: Final = 5


class KeyKind(Enum):
    AES256 = "aes256"
    """Symmetric: whoever encrypts can also decrypt."""
    X25519 = "x25519"
    """The private half: decrypts what was encrypted to the public one."""
    X25519_PUBLIC = "x25519-public"
    """Encrypts, and can read nothing."""

    @property
    def is_secret(self) -> bool:
        return self is not KeyKind.X25519_PUBLIC


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its name. It shows its bytes to nobody who does not ask for them."""

    id: str
    kind: KeyKind
    material: Secret = field(repr=False, compare=False)

    @classmethod
    def new(cls, key_id: str, kind: KeyKind) -> Self:
        """Make a secret key that has not been there before. Raise EncryptionError for the name."""
        check_key_id(key_id)
        if not kind.is_secret:
            raise EncryptionError("a public key comes from a private one")
        return cls(key_id, kind, Secret.random(KEY_BYTES))

    def public(self) -> "Key":
        """Return the half of a pair that may be given away; a symmetric key has none."""
        if self.kind is KeyKind.AES256:
            raise EncryptionError(f"key '{self.id}' is symmetric and has no public half")
        if self.kind is KeyKind.X25519_PUBLIC:
            return self
        public = self.x25519_private().public_key().public_bytes_raw()
        return Key(self.id, KeyKind.X25519_PUBLIC, Secret(bytearray(public)))

    def x25519_private(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.material.content)

    def x25519_public(self) -> X25519PublicKey:
        return X25519PublicKey.from_public_bytes(bytes(self.public().material.content))

    def line(self) -> bytearray:
        """Return the key as it is written down, with the end of the line; the caller wipes it."""
        head = f"{_MARK.decode()}:{self.kind.value}:{self.id}:".encode()
        line = bytearray(head)
        line += _hexadecimal(self.material.content)
        line += b":" + _hexadecimal(_check(self.kind, self.id, self.material.content)) + b"\n"
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def wipe(self) -> None:
        self.material.wipe()


def check_key_id(key_id: str) -> None:
    """Raise EncryptionError for what cannot be the name of a key."""
    if not KEY_ID.fullmatch(key_id):
        raise EncryptionError(
            f"{key_id!r} is no name of a key: up to 64 letters, digits and . _ -, "
            "beginning with a letter or digit"
        )


def parse_keys(text: bytearray, *, where: str) -> list[Key]:
    """Return the keys that are written in a text; lines may be blank, or begin with `#`.

    Raise EncryptionError for a line that is no key, without what stands in it; `where` is
    what it calls the text. The caller wipes the text.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            keys.extend(_keys_in(line, where=f"{where}, line {number}"))
        except EncryptionError:
            for key in keys:
                key.wipe()
            raise
        finally:
            wipe(line)
    return keys


def _keys_in(line: bytearray, *, where: str) -> Iterator[Key]:
    stripped = line.strip()
    fields = stripped.split(b":")
    try:
        if stripped and not stripped.startswith(b"#"):
            yield _key_of(fields, where=where)
    finally:
        for content in (stripped, *fields):
            wipe(content)


def _key_of(fields: list[bytearray], *, where: str) -> Key:
    if len(fields) != _FIELDS or fields[0] != _MARK:
        raise EncryptionError(f"{where}: no key; it would begin with {_MARK.decode()}:")
    kind = next((kind for kind in KeyKind if kind.value.encode() == fields[1]), None)
    key_id = fields[2].decode("ascii", "replace")
    if kind is None or not KEY_ID.fullmatch(key_id):
        raise EncryptionError(f"{where}: a key of a kind or name that is not known")
    material = _bytes_of(fields[3])
    check = _bytes_of(fields[4])
    if material is None or len(material) != KEY_BYTES or check is None:
        raise EncryptionError(f"{where}: key '{key_id}' is not {2 * KEY_BYTES} hexadecimal digits")
    if check != _check(kind, key_id, material):
        wipe(material)
        raise EncryptionError(f"{where}: key '{key_id}' is mistyped: its check does not fit")
    return Key(key_id, kind, Secret(material))


def _check(kind: KeyKind, key_id: str, material: bytearray) -> bytearray:
    digest = hashlib.sha256(f"interlock key 1:{kind.value}:{key_id}:".encode())
    digest.update(material)
    return bytearray(digest.digest()[:_CHECK_BYTES])


# Both by hand: what the library would return could not be wiped.
def _hexadecimal(content: bytearray) -> bytearray:
    digits = bytearray(2 * len(content))
    for at, byte in enumerate(content):
        digits[2 * at] = _DIGITS[byte >> 4]
        digits[2 * at + 1] = _DIGITS[byte & 15]
    return digits


def _bytes_of(digits: bytearray) -> bytearray | None:
    content = bytearray(len(digits) // 2)
    if 2 * len(content) != len(digits):
        return None
    for at in range(len(content)):
        high, low = _DIGITS.find(digits[2 * at]), _DIGITS.find(digits[2 * at + 1])
        if high < 0 or low < 0:
            wipe(content)
            return None
        content[at] = high << 4 | low
    return content
