"""Encrypt a file where it lies, or wrap its key anew: in one step, or not at all.

While it is made, the new file lies beside its place under a name that no server looks at.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from interlock_agents.encryption.content import EncryptedFile, encrypt
from interlock_agents.encryption.errors import EncryptionError
from interlock_agents.encryption.header import CHUNK_BYTES, Header, Recipient, read_header
from interlock_agents.encryption.key_sources import Keys
from interlock_agents.encryption.keys import Key

Recipients = Sequence[Recipient | Key]

_PIECE_BYTES: Final = 1 << 20


def encrypt_file(
    source: Path,
    target: Path,
    *,
    path: str,
    recipients: Sequence[Key],
    chunk_bytes: int = CHUNK_BYTES,
) -> Header:
    """Encrypt `source`, which lies at `path` in its model, as `target`.

    Raise OSError and EncryptionError; there is no new `target` then.
    """
    with source.open("rb", buffering=0) as clear:
        status = os.fstat(clear.fileno())
        with _in_place(target, mode=status.st_mode) as draft:
            return encrypt(
                clear,
                draft,
                path=path,
                size=status.st_size,
                recipients=recipients,
                chunk_bytes=chunk_bytes,
            )


def read_recipients(place: Path) -> tuple[Recipient, ...]:
    """Return whom a file is for, says its header, which nobody has vouched for.

    Raise OSError, and EncryptionError for what is no encrypted file.
    """
    with place.open("rb") as stream:
        return read_header(stream).recipients


def rewrap_file(
    place: Path,
    *,
    path: str,
    keys: Keys,
    recipients: Callable[[Sequence[Recipient]], Recipients],
) -> bool:
    """Give a file's key to other recipients; its content stays as it is, and is not read.

    `recipients` gets those of now. Return False where it wants the same. Raise OSError and
    EncryptionError; the file is as it was then.
    """
    with place.open("rb") as stream:
        status = os.fstat(stream.fileno())
        present = read_header(stream).recipients
        if list(recipients(present)) == list(present):
            return False
        stream.seek(0)
        with EncryptedFile.open(stream, keys, path=path, file_bytes=status.st_size) as file:
            header = file.rewrapped(recipients(file.header.recipients))
            with _in_place(place, mode=status.st_mode) as draft:
                draft.write(header.encoded())
                shutil.copyfileobj(stream, draft, _PIECE_BYTES)
                if draft.tell() != header.file_bytes:
                    raise EncryptionError("it changed while it was read")
    return True


def replace_file(place: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a whole file. Raise OSError; the file that was there is as it was then."""
    with _in_place(place, mode=mode) as draft:
        draft.write(content)


@contextmanager
def _in_place(target: Path, *, mode: int) -> Iterator[BinaryIO]:
    """Yield a file that becomes `target` when all went well, and else is removed."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.swp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - no path
            yield stream
            stream.flush()
            os.fchmod(descriptor, stat.S_IMODE(mode))
            os.fsync(descriptor)
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
