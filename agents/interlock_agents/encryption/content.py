"""Encrypt and decrypt the content of a file, chunk by chunk, with memory for two of them.

Every chunk is bound to its place, to whether it is the last, and to the fixed part of the
header: its length, its path, the size of a chunk. So none can be moved, left out, repeated
or taken from another file, and nothing can follow the last.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from interlock_agents.encryption.errors import EncryptionError, KeyUnavailableError, WrongKeyError
from interlock_agents.encryption.header import (
    CHUNK_BYTES,
    SALT_BYTES,
    TAG_BYTES,
    Header,
    Recipient,
    check_path,
    check_recipients,
    read_header,
)
from interlock_agents.encryption.key_sources import Keys
from interlock_agents.encryption.keys import KEY_BYTES, Key
from interlock_agents.encryption.secret import Secret, wipe
from interlock_agents.encryption.wrapping import unwrap, wrap

_HEADER_KEY: Final = b"interlock encryption 1 header"
_CONTENT_KEY: Final = b"interlock encryption 1 content"


def encrypt(
    source: BinaryIO,
    target: BinaryIO,
    *,
    path: str,
    size: int,
    recipients: Sequence[Key],
    chunk_bytes: int = CHUNK_BYTES,
) -> Header:
    """Write `size` bytes of `source` to `target`, encrypted for every one of `recipients`.

    `path` is where in its model the clear file lies. Raise EncryptionError where `source` is
    longer or shorter than it should be, and for recipients that cannot be; what was written
    by then is no encrypted file.
    """
    check_recipients([key.id for key in recipients])
    check_path(path)
    with Secret.random(KEY_BYTES) as data_key, Secret.random(SALT_BYTES) as salt:
        wrapped = tuple(wrap(data_key, key) for key in recipients)
        header = vouched(Header(path, size, bytes(salt.content), wrapped, chunk_bytes), data_key)
        target.write(header.encoded())
        # Not every build of the library copies the key: it is wiped when all is done.
        with _derived(header, data_key, _CONTENT_KEY) as key:
            _encrypt_chunks(source, target, header, AESGCM(key.content))
    return header


def _encrypt_chunks(source: BinaryIO, target: BinaryIO, header: Header, cipher: AESGCM) -> None:
    bound = _bound(header)
    clear = bytearray(min(header.chunk_bytes, header.size))
    closed = memoryview(bytearray(len(clear) + TAG_BYTES))
    try:
        for index in range(header.chunks):
            length = min(header.chunk_bytes, header.size - index * header.chunk_bytes)
            piece = memoryview(clear)[:length]
            if _fill(source, piece) < length:
                raise EncryptionError("it became shorter while it was read")
            out = closed[: length + TAG_BYTES]
            cipher.encrypt_into(_nonce(header, index), piece, bound, out)
            target.write(out)
        if source.read(1):
            raise EncryptionError("it became longer while it was read")
    finally:
        wipe(clear)


class EncryptedFile:
    """A file whose header was read and can be trusted. One thread at a time may use it."""

    def __init__(self, stream: BinaryIO, header: Header, key_id: str, data_key: Secret) -> None:
        """Use `open` instead: it looks at what these are."""
        self._stream = stream
        self._header = header
        self._data_key = data_key
        self._key_id = key_id

    @classmethod
    def open(cls, stream: BinaryIO, keys: Keys, *, path: str, file_bytes: int) -> Self:
        """Read the header of a file of `file_bytes`, whose clear content belongs at `path`.

        Raise EncryptionError where it is damaged, cut off, followed by something, or the
        file of another path; KeyUnavailableError where no key for it can be had,
        WrongKeyError where one does not fit.
        """
        header = read_header(stream)
        key_id, data_key = _data_key(header, keys)
        try:
            _check(header, data_key, path=path, file_bytes=file_bytes)
        except BaseException:
            data_key.wipe()
            raise
        return cls(stream, header, key_id, data_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._data_key.wipe()

    @property
    def header(self) -> Header:
        return self._header

    @property
    def size(self) -> int:
        """How many bytes its clear content has."""
        return self._header.size

    @property
    def key_id(self) -> str:
        """The name of the key that opened it."""
        return self._key_id

    def read_into(
        self, memory: memoryview, *, before: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Decrypt all of it into `memory`, which is `size` bytes long; once only.

        `before` is called before every chunk, with where it is to begin and how long it is in
        `memory`, and may raise to end it. Raise EncryptionError for the first chunk that is
        not what it was; `memory` holds nothing of it then.
        """
        with _derived(self._header, self._data_key, _CONTENT_KEY) as key:
            self._decrypt_chunks(AESGCM(key.content), memory, before)
        if self._stream.read(1):
            raise EncryptionError("something follows its end")

    def _decrypt_chunks(
        self, cipher: AESGCM, memory: memoryview, before: Callable[[int, int], None]
    ) -> None:
        header, bound = self._header, _bound(self._header)
        closed = memoryview(bytearray(min(header.chunk_bytes, header.size) + TAG_BYTES))
        for index in range(header.chunks):
            begin = index * header.chunk_bytes
            piece = memory[begin : min(begin + header.chunk_bytes, header.size)]
            chunk = closed[: len(piece) + TAG_BYTES]
            before(begin, len(piece))
            if _fill(self._stream, chunk) < len(chunk):
                raise EncryptionError(f"it is cut off within chunk {index + 1} of {header.chunks}")
            try:
                cipher.decrypt_into(_nonce(header, index), chunk, bound, piece)
            except InvalidTag:
                piece[:] = bytes(len(piece))
                raise EncryptionError(
                    f"chunk {index + 1} of {header.chunks} is damaged, or not from there"
                ) from None

    def rewrapped(self, recipients: Sequence[Recipient | Key]) -> Header:
        """Return a header for the same chunks and for these recipients.

        A recipient of the present header stays as it is; a key gets the data key anew.
        """
        check_recipients([r.key_id if isinstance(r, Recipient) else r.id for r in recipients])
        wrapped = tuple(
            recipient if isinstance(recipient, Recipient) else wrap(self._data_key, recipient)
            for recipient in recipients
        )
        return vouched(replace(self._header, recipients=wrapped), self._data_key)


def vouched(header: Header, data_key: Secret) -> Header:
    """Return the header with the MAC that belongs to it."""
    with _derived(header, data_key, _HEADER_KEY) as key:
        mac = hmac.digest(key.content, header.to_vouch_for(), "sha256")
    return replace(header, mac=mac)


def _check(header: Header, data_key: Secret, *, path: str, file_bytes: int) -> None:
    if not hmac.compare_digest(vouched(header, data_key).mac, header.mac):
        raise EncryptionError("its header is damaged")
    if header.path != path:
        raise EncryptionError(f"it was encrypted as '{header.path}' and is not that of '{path}'")
    beyond = file_bytes - header.file_bytes
    if beyond < 0:
        raise EncryptionError(f"it is cut off: {-beyond} of {header.file_bytes} bytes are missing")
    if beyond > 0:
        raise EncryptionError(f"something follows its end: {beyond} bytes")


def _data_key(header: Header, keys: Keys) -> tuple[str, Secret]:
    """Return the file's key, and the name of the first key that gives it."""
    failures: list[KeyUnavailableError | WrongKeyError] = []
    for recipient in header.recipients:
        try:
            key = keys.find(recipient.key_id)
        except KeyUnavailableError as error:
            failures.append(error)
            continue
        try:
            return recipient.key_id, unwrap(recipient, key)
        except WrongKeyError as error:
            failures.append(error)
        finally:
            key.wipe()
    reason = "; ".join(map(str, failures))
    if any(isinstance(failure, WrongKeyError) for failure in failures):
        raise WrongKeyError(reason)
    raise KeyUnavailableError(reason)


def _derived(header: Header, data_key: Secret, purpose: bytes) -> Secret:
    content = bytearray(KEY_BYTES)
    HKDF(SHA256(), KEY_BYTES, header.salt, purpose).derive_into(data_key.content, content)
    return Secret(content)


def _bound(header: Header) -> bytes:
    return hashlib.sha256(header.fixed()).digest()


def _nonce(header: Header, index: int) -> bytes:
    """Return a chunk's place, which no other of the same key has, and whether it is the last."""
    return index.to_bytes(8, "big") + bytes((0, 0, 0, index == header.chunks - 1))


def _fill(stream: BinaryIO, memory: memoryview) -> int:
    """Read until `memory` is full or the stream ends; return how much was read."""
    filled = 0
    while filled < len(memory):
        # A raw stream and a buffered one both have it, and BinaryIO has not.
        count = stream.readinto(memory[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
