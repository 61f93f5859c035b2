"""The beginning of an encrypted file: what it is, whom it is for, and how it goes on.

`docs/encryption.md` describes every byte of it. Reads and writes bytes only: whether they
can be trusted is decided by whoever holds the key.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, Final

from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.location import PathError, checked

MAGIC: Final = b"\x89ILK\r\n\x1a\n"
VERSION: Final = 1
AES_256_GCM: Final = 1
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
MAC_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 20
"""How much of the clear content a chunk has, but for the last."""
MIN_CHUNK_BYTES: Final = 16
MAX_CHUNK_BYTES: Final = 16 << 20
MAX_RECIPIENTS: Final = 16
MAX_PATH_BYTES: Final = 4096
MAX_WRAPPED_BYTES: Final = 1024
KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""What a key may be called: it becomes a file's name, and an argument of a command."""

_FIXED: Final = struct.Struct(f">{len(MAGIC)}sBBIQ{SALT_BYTES}sH")
_RECIPIENT: Final = struct.Struct(">BB")
_LENGTH: Final = struct.Struct(">H")


class Method(IntEnum):
    """How a data key is wrapped."""

    AES_KW = 1
    HPKE_X25519 = 2


@dataclass(frozen=True, slots=True)
class Recipient:
    """A key that opens the file, and the file's own key as only that one can read it."""

    method: Method
    key_id: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """All that stands before the first chunk.

    `path` is that of the clear file, relative to the model's directory; `size` is what the
    clear file holds. `mac` vouches for all the rest.
    """

    path: str
    size: int
    salt: bytes
    recipients: tuple[Recipient, ...]
    chunk_bytes: int = CHUNK_BYTES
    mac: bytes = b""

    @property
    def chunks(self) -> int:
        """How many there are; a file without content has one that is empty."""
        return max(1, -(-self.size // self.chunk_bytes))

    @property
    def content_bytes(self) -> int:
        """How long all chunks are together."""
        return self.size + self.chunks * TAG_BYTES

    @property
    def file_bytes(self) -> int:
        """How long the whole file is."""
        return len(self.to_vouch_for()) + MAC_BYTES + self.content_bytes

    def fixed(self) -> bytes:
        """Return the part that stays as it is for as long as the chunks do."""
        path = self.path.encode()
        return (
            _FIXED.pack(
                MAGIC, VERSION, AES_256_GCM, self.chunk_bytes, self.size, self.salt, len(path)
            )
            + path
        )

    def to_vouch_for(self) -> bytes:
        """Return every byte before the MAC."""
        parts = [self.fixed(), bytes([len(self.recipients)])]
        for recipient in self.recipients:
            key_id = recipient.key_id.encode()
            parts += [
                _RECIPIENT.pack(recipient.method, len(key_id)),
                key_id,
                _LENGTH.pack(len(recipient.wrapped)),
                recipient.wrapped,
            ]
        return b"".join(parts)

    def encoded(self) -> bytes:
        return self.to_vouch_for() + self.mac


def is_encrypted(beginning: bytes) -> bool:
    """Whether a file that begins like this is an encrypted one, of any version."""
    return beginning.startswith(MAGIC)


def read_header(stream: BinaryIO) -> Header:
    """Read a header, and not a byte more. Raise EncryptionError where there is none."""
    return _Reader(stream).header()


def check_path(path: str) -> None:
    """Raise EncryptionError for what cannot be where a file of a model lies."""
    if not _is_path(path):
        raise EncryptionError(
            f"{path!r} is no path that can be written down: relative, without detours, in UTF-8 "
            f"and of {MAX_PATH_BYTES} bytes at most"
        )


def check_recipients(key_ids: Sequence[str]) -> None:
    """Raise EncryptionError where a file cannot be for just these keys."""
    if not key_ids:
        raise EncryptionError("nobody could open it: it needs a recipient")
    if len(key_ids) > MAX_RECIPIENTS:
        raise EncryptionError(f"more than {MAX_RECIPIENTS} recipients")
    for key_id in key_ids:
        if key_ids.count(key_id) > 1:
            raise EncryptionError(f"key '{key_id}' is a recipient twice")


def _is_path(path: str) -> bool:
    try:
        return path != "." and checked(path) == path and len(path.encode()) <= MAX_PATH_BYTES
    except (PathError, UnicodeEncodeError):
        return False


class _Reader:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def header(self) -> Header:
        beginning = self._up_to(_FIXED.size)
        if not is_encrypted(beginning):
            raise EncryptionError("it is not encrypted, or its beginning is damaged")
        if len(beginning) > len(MAGIC) and beginning[len(MAGIC)] != VERSION:
            raise EncryptionError(
                f"its format is version {beginning[len(MAGIC)]}; only {VERSION} is known"
            )
        if len(beginning) < _FIXED.size:
            raise _cut_off()
        _, _, cipher, chunk_bytes, size, salt, path_bytes = _FIXED.unpack(beginning)
        if cipher != AES_256_GCM:
            raise EncryptionError(f"its cipher {cipher} is not known")
        if not MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES:
            raise EncryptionError(f"its header is damaged: chunks of {chunk_bytes} bytes")
        path = self._path(path_bytes)
        recipients = self._recipients()
        return Header(path, size, salt, recipients, chunk_bytes, self._exactly(MAC_BYTES))

    def _path(self, length: int) -> str:
        if length > MAX_PATH_BYTES:
            raise EncryptionError(f"its header is damaged: a path of {length} bytes")
        path = self._exactly(length).decode(errors="surrogateescape")
        if not _is_path(path):
            raise EncryptionError("its header is damaged: it names no path")
        return path

    def _recipients(self) -> tuple[Recipient, ...]:
        count = self._exactly(1)[0]
        if not 1 <= count <= MAX_RECIPIENTS:
            raise EncryptionError(f"its header is damaged: {count} recipients")
        return tuple(self._recipient() for _ in range(count))

    def _recipient(self) -> Recipient:
        method, id_length = _RECIPIENT.unpack(self._exactly(_RECIPIENT.size))
        key_id = self._exactly(id_length).decode("ascii", "replace")
        if not KEY_ID.fullmatch(key_id):
            raise EncryptionError("its header is damaged: it names no key")
        if method not in list(Method):
            raise EncryptionError(f"its data key is wrapped by method {method}, which is not known")
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if not 1 <= length <= MAX_WRAPPED_BYTES:
            raise EncryptionError(f"its header is damaged: a wrapped key of {length} bytes")
        return Recipient(Method(method), key_id, self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        found = self._up_to(size)
        if len(found) < size:
            raise _cut_off()
        return found

    def _up_to(self, size: int) -> bytes:
        """Return `size` bytes, less only where the file ends."""
        found = b""
        while len(found) < size and (more := self._stream.read(size - len(found))):
            found += more
        return found


def _cut_off() -> EncryptionError:
    return EncryptionError("it is cut off within its header")
