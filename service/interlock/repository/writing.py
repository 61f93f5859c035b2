"""Find out whether somebody has a file open for writing.

The kernel grants a read lease only on a file that nobody can write to just now. It grants
none on files of other users to those without privilege, and on network file systems its
answer means something else: there we do not know.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG

from interlock.repository.mounts import Mounts
from interlock.repository.staging import Writing


class Writers:
    """Asks who writes, for as long as nothing else is mounted."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts
        self._is_local: dict[int, bool] = {}

    @classmethod
    def now(cls) -> "Writers":
        return cls(Mounts.now())

    def __call__(self, paths: Iterable[Path]) -> Writing:
        """Return YES if one of the files is open for writing, NO if none of them surely is."""
        found = Writing.NO
        for path in paths:
            answer = self._ask(path)
            if answer is Writing.YES:
                return answer
            if answer is Writing.UNKNOWN:
                found = answer
        return found

    def _ask(self, path: Path) -> Writing:
        try:
            device = path.stat().st_dev
        except OSError:
            return Writing.UNKNOWN
        if device not in self._is_local:
            self._is_local[device] = self._mounts.of(path).is_local
        return _writing_of(path) if self._is_local[device] else Writing.UNKNOWN


def _writing_of(path: Path) -> Writing:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return Writing.UNKNOWN
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            return Writing.UNKNOWN
        # Whoever opens the file while we hold the lease is made to wait, and we are sent a
        # signal: by default SIGIO, which would end the process. SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Writing.YES if error.errno == errno.EAGAIN else Writing.UNKNOWN
    finally:
        os.close(descriptor)  # gives up the lease
    return Writing.NO
