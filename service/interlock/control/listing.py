"""The names of all models in the repositories, as fresh as whoever asks can have them at once."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from interlock.control.index import Listing
from interlock.domain.ids import ModelName
from interlock.repository.snapshot import RepositorySnapshot
from interlock.runtime.clock import Clock

log = structlog.get_logger()

_MAX_AGE_S: Final = 1.0


class CachedListing:
    """Lists the repositories at most once a second, in the thread of a caller. Any thread.

    One caller lists, the others get the previous listing meanwhile: nobody waits behind a
    slow disk that another is waiting for. A repository that cannot be listed keeps the
    names that it had.
    """

    def __init__(self, snapshot: Callable[[], RepositorySnapshot], clock: Clock) -> None:
        self._snapshot = snapshot
        self._clock = clock
        # Held by the one caller who lists; never waited for.
        self._listing = threading.Lock()
        self._latest = Listing()
        self._due = float("-inf")

    def names(self) -> Listing:
        if self._clock() >= self._due and self._listing.acquire(blocking=False):
            try:
                self._latest = self._list()
            finally:
                self._due = self._clock() + _MAX_AGE_S
                self._listing.release()
        return self._latest

    def _list(self) -> Listing:
        snapshot = self._snapshot()
        unreadable = {name: why for name, why in snapshot.problems.items() if "/" in name}
        models = snapshot.models.keys() | (snapshot.problems.keys() - unreadable.keys())
        listing = Listing(
            models=frozenset(map(ModelName, models)),
            duplicates=frozenset(map(ModelName, snapshot.duplicates)),
        )
        if not unreadable:
            return listing
        log.warning("model repository cannot be listed", problems=unreadable)
        return Listing(
            models=listing.models | self._latest.models,
            duplicates=listing.duplicates | self._latest.duplicates,
        )
