"""Fetch objects into files: in parts, several at a time, and only what was listed.

Each part asks for the very object that was listed, by its ETag; an object that is another
by then ends the fetch. Whole is what has its size, and its MD5 where the ETag is one.
"""

import errno
import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.repository.cloud.objects import RemoteObject
from interlock.repository.cloud.store import ObjectStore, StoreError
from interlock.runtime.threads import spawn

PART_BYTES: Final = 8 << 20
THREADS: Final = 8
_MD5: Final = re.compile(r'"([0-9a-f]{32})"')
_PIECE_BYTES: Final = 1 << 20
_MAX_OPEN: Final = 128
"""How many files are open at a time."""

_CANNOT_RESERVE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

IsCancelled = Callable[[], bool]
Task = Callable[[], None]


class FetchCancelledError(Exception):
    """The server is stopping."""


@dataclass(frozen=True, slots=True)
class Download:
    """An object, and the file that it is to become."""

    source: RemoteObject
    target: Path


def in_parallel(tasks: Iterable[Task], threads: int, name: str) -> None:
    """Do the tasks in at most so many threads, and return when the last has ended.

    Raise what the first of them raised that failed; what has not begun is given up then.
    """
    waiting = deque(tasks)
    if not waiting:
        return
    errors: list[BaseException] = []

    def work() -> None:
        while waiting and not errors:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                errors.append(error)

    others = [spawn(f"{name}-{number}", work) for number in range(1, min(threads, len(waiting)))]
    work()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]


class Fetcher:
    """Fetches from one repository. Any thread may call."""

    def __init__(
        self, *, is_cancelled: IsCancelled, threads: int = THREADS, part_bytes: int = PART_BYTES
    ) -> None:
        self._is_cancelled = is_cancelled
        self._threads = threads
        self._part_bytes = part_bytes
        # Written once, by assignment.
        self._etags_are_md5 = True

    def fetch(self, store: ObjectStore, downloads: Sequence[Download]) -> None:
        """Make the files. Return when all of them are whole.

        Raise MovedError where an object is not the one that was listed, StoreError where it
        cannot be had or does not arrive whole, OSError where it cannot be written,
        FetchCancelledError. The files are not to be used then.
        """
        for start in range(0, len(downloads), _MAX_OPEN):
            batch = downloads[start : start + _MAX_OPEN]
            self._fetch(store, batch)
            for download in batch:
                self._check(store, download)

    def _fetch(self, store: ObjectStore, downloads: Sequence[Download]) -> None:
        with ExitStack() as files:
            opened = [(one.source, _opened(one, files)) for one in downloads]
            tasks = [
                _Part(store, source, descriptor, start, end, self._is_cancelled)
                for source, descriptor in opened
                for start, end in self._parts(source.size)
            ]
            in_parallel(tasks, self._threads, "fetch")

    def _parts(self, size: int) -> list[tuple[int, int]]:
        return [
            (start, min(start + self._part_bytes, size))
            for start in range(0, size, self._part_bytes)
        ]

    def _check(self, store: ObjectStore, download: Download) -> None:
        etag = _MD5.fullmatch(download.source.etag)
        if etag is None or not self._etags_are_md5:
            return
        first = _md5(download.target)
        if first == etag[1]:
            return
        # Either something broke on the way, or the store encrypts and its ETags only look
        # like digests. What is the same twice has not been broken.
        self._fetch(store, [download])
        if _md5(download.target) != first:
            raise StoreError(f"{download.source.path} does not arrive whole")
        self._etags_are_md5 = False


@dataclass(frozen=True, slots=True)
class _Part:
    """The task to fetch a part of an object to where it belongs in a file."""

    store: ObjectStore
    source: RemoteObject
    descriptor: int
    start: int
    end: int
    is_cancelled: IsCancelled

    def __call__(self) -> None:
        place = self.start
        for piece in self.store.read(self.source, self.start, self.end):
            if self.is_cancelled():
                raise FetchCancelledError
            if place + len(piece) > self.end:
                raise StoreError(f"{self.source.path} is larger than it was listed")
            place += _write(self.descriptor, piece, place)
        if place != self.end:
            raise StoreError(f"{self.source.path} does not arrive whole")


def _write(descriptor: int, piece: bytes, place: int) -> int:
    left = memoryview(piece)
    while left:
        written = os.pwrite(descriptor, left, place)
        place += written
        left = left[written:]
    return len(piece)


def _opened(download: Download, files: ExitStack) -> int:
    download.target.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(download.target, flags, 0o600)
    files.callback(os.close, descriptor)
    if download.source.size:
        try:
            # A disk that is too full says so before anything is fetched.
            os.posix_fallocate(descriptor, 0, download.source.size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
    return descriptor


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
