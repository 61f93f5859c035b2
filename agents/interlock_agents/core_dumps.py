"""Keep what this process holds in memory out of core dumps, for as long as it holds secrets.

A process that may not be dumped can also not be looked into by others of the same user.
"""

import ctypes
import os
import resource
import threading
from typing import Final, Self

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


class CoreDumps:
    """Counts who has something to hide. One for a process; any thread may call."""

    def __init__(self) -> None:
        # Guards all below.
        self._lock = threading.Lock()
        self._holders = 0
        self._before: tuple[int, int] = (0, 0)

    def __enter__(self) -> Self:
        self.forbid()
        return self

    def __exit__(self, *_: object) -> None:
        self.allow()

    def forbid(self) -> None:
        """Let there be no core dump until `allow` was called as often."""
        with self._lock:
            if not self._holders:
                soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
                self._before = (soft, _prctl(_PR_GET_DUMPABLE))
                # The limit is not asked where dumps go through a pipe, and the other is not
                # passed on to the processes that we start.
                _prctl(_PR_SET_DUMPABLE, 0)
                resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
            self._holders += 1

    def allow(self) -> None:
        """Let everything be as it was, once nobody has anything to hide."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                soft, dumpable = self._before
                _, hard = resource.getrlimit(resource.RLIMIT_CORE)
                resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
                if dumpable == 1:  # nobody can set another value
                    _prctl(_PR_SET_DUMPABLE, 1)


def _prctl(option: int, value: int = 0) -> int:
    result: int = _LIBC.prctl(option, value, 0, 0, 0)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return libc


_LIBC: Final = _libc()
