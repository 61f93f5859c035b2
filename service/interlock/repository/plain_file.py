"""Open the files of a repository, and nothing that could keep whoever opens it waiting.

A pipe that nobody writes to is opened for ever.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO

from interlock.repository.listing import OTHER


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading. Raise OSError, for what is no file too; its text says that."""
    check_mode(path, path.stat().st_mode)
    # Not to hang on what has become a pipe since.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check_mode(path, os.fstat(descriptor).st_mode)
        return open(descriptor, "rb")  # noqa: PTH123 - no path any more
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open whatever is there, for reading, and yield its descriptor. Raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Return what a file holds. Raise OSError as `open_file` does."""
    with open_file(path) as file:
        return file.read()


def check_mode(path: Path, mode: int) -> None:
    """Raise OSError where a file's mode is not that of a file."""
    if S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not S_ISREG(mode):
        raise OSError(errno.EINVAL, f"it is a {OTHER}, not a file", str(path))
