"""Digest what files contain: SHA-256 of each, and one digest for a version.

Reads a piece at a time, in the thread of whoever asks, and stops when told to. A digest
belongs to the entry that the file was listed with: a file that is no longer that one, or
changes while it is read, has no digest.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.repository.listing import FILE, Entry
from interlock.repository.plain_file import opened

PIECE_BYTES: Final = 1 << 20

IsCancelled = Callable[[], bool]


class CancelledError(Exception):
    """Whoever asked for a digest does not want it any more."""


class ChangedError(Exception):
    """A file is not, or no longer, the one that was listed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changes while it is read")
        self.path = path


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's size and the SHA-256 of its content, in lower-case hexadecimal."""

    size: int
    sha256: str


NO_FILE: Final = FileDigest(0, "")
"""Of a link that leads nowhere, a pipe, a socket: there, but without content."""


def never() -> bool:
    """Return that nobody cancels."""
    return False


def digest_file(path: Path, *, is_cancelled: IsCancelled = never) -> FileDigest:
    """Return the digest of a file that nobody has listed.

    Raise OSError where it cannot be read, ChangedError where it changes meanwhile.
    """
    with opened(path) as descriptor:
        return _digest(descriptor, str(path), os.fstat(descriptor), is_cancelled)


def digest_files(
    model_directory: Path, entries: Iterable[Entry], *, is_cancelled: IsCancelled = never
) -> dict[str, FileDigest]:
    """Return the digests of files as they were listed, by their relative paths.

    Raise OSError where one cannot be read, ChangedError where it is not as it was listed.
    """
    digests: dict[str, FileDigest] = {}
    for entry in entries:
        if entry.kind != FILE:
            digests[entry.path] = NO_FILE
            continue
        with opened(model_directory / entry.path) as descriptor:
            status = os.fstat(descriptor)
            listed = (entry.size, entry.inode, entry.mtime_ns, entry.ctime_ns)
            if listed != _identity(status):
                raise ChangedError(entry.path)
            digests[entry.path] = _digest(descriptor, entry.path, status, is_cancelled)
    return digests


def version_digest(files: Mapping[str, FileDigest]) -> str:
    """Return one digest for all that a version is made of: paths, sizes and contents.

    The same whatever the clocks, the inodes and the order of the files.
    """
    tree = hashlib.sha256()
    for path, file in sorted(files.items()):
        # The path goes last and ends with what no path can hold: no two trees read alike.
        line = f"{file.sha256} {file.size} {path}\0"
        tree.update(line.encode("utf-8", errors="surrogateescape"))
    return tree.hexdigest()


def _digest(
    descriptor: int, path: str, before: os.stat_result, is_cancelled: IsCancelled
) -> FileDigest:
    content = hashlib.sha256()
    piece = memoryview(bytearray(min(PIECE_BYTES, max(1, before.st_size))))
    size = 0
    while True:
        if is_cancelled():
            raise CancelledError
        count = os.readv(descriptor, [piece])
        if not count:
            break
        content.update(piece[:count])
        size += count
    if size != before.st_size or _identity(os.fstat(descriptor)) != _identity(before):
        raise ChangedError(path)
    return FileDigest(size, content.hexdigest())


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
