"""How the loads at start went: what has ended, and what failed with which reason."""

import threading
from collections.abc import Mapping

from interlock.domain.errors import ServiceError


class FirstLoads:
    """The loads that the server began with. Any thread may ask."""

    def __init__(self) -> None:
        # Guards the three below. A leaf.
        self._lock = threading.Lock()
        self._pending: set[str] = set()
        self._failures: dict[str, ServiceError] = {}
        self._all_named = False
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        """Whether all of them have ended, one way or the other."""
        return self._done.is_set()

    @property
    def failures(self) -> Mapping[str, ServiceError]:
        """What failed so far: by model, and by path for a repository that cannot be read."""
        with self._lock:
            return dict(self._failures)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all have ended; whether that was reached in time."""
        return self._done.wait(timeout_s)

    def begin(self, name: str) -> None:
        with self._lock:
            self._pending.add(name)

    def end(self, name: str, error: ServiceError | None) -> None:
        with self._lock:
            self._pending.discard(name)
            if error is not None:
                self._failures[name] = error
            self._check()

    def all_named(self) -> None:
        """No further model follows."""
        with self._lock:
            self._all_named = True
            self._check()

    def _check(self) -> None:
        if self._all_named and not self._pending:
            self._done.set()
