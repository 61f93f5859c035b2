"""Say in the log when the server becomes ready and when it ceases to be, and why."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import structlog

log = structlog.get_logger()

_MOST: Final = 3
"""How many reasons one line holds."""


class ReadinessLog:
    """Told of every change, it writes a line where readiness or the reasons against it differ.

    Any thread may call `look`.
    """

    def __init__(self, objections: Callable[[], Iterator[str]]) -> None:
        self._objections = objections
        # Guards what was told, from the look to the line: two lines must not change places.
        self._lock = threading.Lock()
        self._told = self._reasons()

    def look(self) -> None:
        with self._lock:
            reasons = self._reasons()
            if reasons == self._told:
                return
            self._told = reasons
            if not reasons:
                log.info("ready")
                return
            more = len(list(self._objections())) - len(reasons)
            headline = f"not ready: {'; '.join(reasons)}"
            if more > 0:
                headline += f"; and {more} more"
            log.warning(headline)

    def _reasons(self) -> tuple[str, ...]:
        return tuple(islice(self._objections(), _MOST))
