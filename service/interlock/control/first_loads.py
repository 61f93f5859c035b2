"""How the loads at start went: what has ended, and what failed with which reason."""

import threading
from collections.abc import Mapping

from interlock.domain.errors import ServiceError
from interlock.domain.ids import ModelName


class FirstLoads:
    """The loads that the server began with. Any thread may ask."""

    def __init__(self) -> None:
        # Guards the three below. A leaf.
        self._lock = threading.Lock()
        self._pending: set[ModelName] = set()
        self._failures: dict[ModelName, ServiceError] = {}
        self._all_named = False
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        """Whether all of them have ended, one way or the other."""
        return self._done.is_set()

    @property
    def failures(self) -> Mapping[ModelName, ServiceError]:
        """The models that failed so far."""
        with self._lock:
            return dict(self._failures)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all have ended; whether that was reached in time."""
        return self._done.wait(timeout_s)

    def begin(self, model: ModelName) -> None:
        with self._lock:
            self._pending.add(model)

    def end(self, model: ModelName, error: ServiceError | None) -> None:
        with self._lock:
            self._pending.discard(model)
            if error is not None:
                self._failures[model] = error
            self._check()

    def all_named(self) -> None:
        """No further model follows."""
        with self._lock:
            self._all_named = True
            self._check()

    def _check(self) -> None:
        if self._all_named and not self._pending:
            self._done.set()
