"""Where reports and wishes wait until the next step.

Bounded by those who fill it: one report for each action under way, one wish for each
caller that waits for its outcome.
"""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Any thread puts, the manager takes. First in line where locks are taken (design.md)."""

    def __init__(self) -> None:
        # Guards the messages.
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._messages: list[T] = []

    def put(self, message: T) -> None:
        with self._lock:
            self._messages.append(message)
            self._arrived.notify()

    def take(self) -> list[T]:
        """Return all that has arrived, oldest first, without waiting."""
        with self._lock:
            taken, self._messages = self._messages, []
            return taken

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until something is there; whether it is."""
        with self._lock:
            return self._arrived.wait_for(lambda: bool(self._messages), timeout_s)
