"""Count who is inside a version, so that it can be drained.

A lease is taken in the step that looks the version up and given back when its request ends.
"""

import threading


class LeaseCount:
    """How many requests are inside one version. Any thread may call anything here."""

    __slots__ = ("_closed", "_count", "_empty", "_lock")

    def __init__(self) -> None:
        # Guards the three others. A leaf: nothing else is taken inside.
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False
        self._empty = threading.Condition(self._lock)

    @property
    def count(self) -> int:
        return self._count

    def take(self) -> bool:
        """Enter; False where the version is being drained: look the model up again."""
        with self._lock:
            if self._closed:
                return False
            self._count += 1
            return True

    def give_back(self) -> None:
        with self._lock:
            self._count -= 1
            if self._closed and self._count == 0:
                self._empty.notify_all()

    def close(self) -> None:
        """Let nobody in any more. The version must be out of the serving table before."""
        with self._lock:
            self._closed = True
            if self._count == 0:
                self._empty.notify_all()

    def wait_empty(self, timeout_s: float | None) -> bool:
        """Wait until nobody is inside; whether that was reached in time."""
        with self._lock:
            return self._empty.wait_for(lambda: self._count == 0, timeout_s)
