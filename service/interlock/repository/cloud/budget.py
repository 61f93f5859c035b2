"""Bound what the mirrors take of the disk: by the operator's limit, and by what is free."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SPARE_BYTES: Final = 64 << 20
"""What is left free on the disk for everybody else."""


class NoRoomError(Exception):
    """It does not fit; the text says how much is wanted and how much there is."""


def free_bytes(place: Path) -> int:
    """Return what is free on the disk that a folder lies on."""
    return shutil.disk_usage(place).free


class Budget:
    """Counts the bytes that all mirrors of the server hold. Any thread may call.

    `limit_bytes` of 0 is no limit of our own.
    """

    def __init__(
        self, place: Path, limit_bytes: int = 0, *, free: Callable[[Path], int] = free_bytes
    ) -> None:
        self._place = place
        self._limit_bytes = limit_bytes
        self._free = free
        # Guards the two below. A leaf.
        self._lock = threading.Lock()
        self._held = 0
        self._coming = 0

    @property
    def held_bytes(self) -> int:
        """What the mirrors hold, what is being fetched included."""
        with self._lock:
            return self._held + self._coming

    @contextmanager
    def coming(self, size: int) -> Iterator[None]:
        """Set room aside for files while they are fetched. Raise NoRoomError."""
        with self._lock:
            self._check(size)
            self._coming += size
        try:
            yield
        finally:
            with self._lock:
                self._coming -= size

    def hold(self, change: int) -> None:
        """Take note of bytes that have come to stay, or of such that have gone."""
        with self._lock:
            self._held += change

    def _check(self, size: int) -> None:
        held = self._held + self._coming
        if self._limit_bytes and held + size > self._limit_bytes:
            raise NoRoomError(
                f"needs {size} bytes more than the {held} that the cache holds, and"
                f" --cloud-cache-bytes is {self._limit_bytes}"
            )
        # What is coming has its place on the disk already, as far as it has been begun.
        free = self._free(self._place)
        if size + SPARE_BYTES > free:
            raise NoRoomError(
                f"needs {size} bytes, and {max(0, free - SPARE_BYTES)} are free for it in"
                f" {self._place} (see --scratch-directory)"
            )
