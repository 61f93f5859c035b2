"""Write the audit log in a thread of its own, so that a disk that is slow stops nothing else.

Lines are written in the order in which they were recorded. Who wants to go on only when its
own have been written says `settle`. There is room for so many lines that wait; what comes
beyond that is counted as missing.
"""

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from interlock.runtime.threads import Thread, spawn
from interlock.telemetry.audit import AuditEvent, AuditLog, cut

log = structlog.get_logger()

WAITING: Final = 4096
"""How many lines may wait to be written."""


class AuditQueue:
    """What others know of the audit log. Any thread may call; only `settle` and `close` wait."""

    def __init__(
        self,
        audit: AuditLog,
        *,
        room: int = WAITING,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._audit = audit
        self._room = room
        self._now = now
        # Guards all below. Never held while a line is written.
        self._changed = threading.Condition()
        self._waiting: deque[tuple[AuditEvent, datetime]] = deque()
        self._dropped = 0
        self._recorded = 0
        self._written = 0
        self._is_closing = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = spawn("audit", self._run)

    def record(self, event: AuditEvent) -> None:
        """Have the line of an event written; after `close`, nothing. Never blocks."""
        waiting = (cut(event), self._now())
        with self._changed:
            if self._is_closing:
                return
            is_lost = len(self._waiting) >= self._room
            is_first = is_lost and not self._dropped
            if is_lost:
                self._dropped += 1
            else:
                self._waiting.append(waiting)
                self._recorded += 1
                self._changed.notify_all()
        if is_first:
            log.error("lines of the audit log are lost", waiting=self._room)

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was recorded before has been written; whether it was in time."""
        with self._changed:
            upto = self._recorded
            return self._changed.wait_for(lambda: self._written >= upto, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Write what waits, then take nothing more; whether that was all written in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            batch, dropped = self._next()
            for event, at in batch:
                self._audit.record(event, at=at)
                with self._changed:
                    self._written += 1
                    self._changed.notify_all()
            if dropped:
                self._audit.miss(dropped)
            if not batch:
                self._audit.close()
                return

    def _next(self) -> tuple[list[tuple[AuditEvent, datetime]], int]:
        """Wait for lines; take them, and how many there was no room for behind them.

        No lines at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            batch, dropped = list(self._waiting), self._dropped
            self._waiting.clear()
            self._dropped = 0
            return batch, dropped
