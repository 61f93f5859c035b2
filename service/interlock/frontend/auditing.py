"""Decide what of a call the audit log tells, and in which words.

A call that would change what is served has a line when it is answered; one that only asks
has none, unless the gate refuses it.
"""

import threading
from dataclasses import dataclass
from typing import Final, Protocol

from interlock.domain.cause import Actor
from interlock.domain.errors import NotAllowedError, ServiceError
from interlock.runtime.clock import Clock, monotonic
from interlock.telemetry.audit import AuditEvent

SETTLE_S: Final = 1.0
"""For how long whoever asks for a change waits for the lines about it to be written."""
BURST: Final = 100
PER_S: Final = 10.0
"""How many calls that come to nothing are told in a second, after a burst: anybody makes them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for; `version` is the one that it names.

    With `waits` it is answered when that has been done, not when it has begun.
    """

    what: str
    model: str = ""
    version: int | None = None
    waits: bool = True


class Recorder(Protocol):
    """Who writes the audit log. Any thread may call."""

    def record(self, event: AuditEvent) -> None:
        """Have a line written. Never blocks."""
        ...

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was recorded before has been written; whether it was in time."""
        ...


class CallAudit:
    """Tells of calls. Any thread may call; `answered` waits."""

    def __init__(self, recorder: Recorder, *, clock: Clock = monotonic) -> None:
        self._recorder = recorder
        self._clock = clock
        # Guards the three below. A leaf.
        self._lock = threading.Lock()
        self._left = float(BURST)
        self._at = clock()
        self._untold = 0

    def refused(self, asked: Asked, who: Actor, error: ServiceError) -> None:
        """Tell that the gate has not let a call pass. Never blocks."""
        self._record_vain(asked, who, "refused", error)

    def answered(self, asked: Asked, who: Actor, error: ServiceError | None) -> None:
        """Tell how a call ended, and wait for its lines to be written, though not for long."""
        if error is None:
            self._record(asked, who, "ok" if asked.waits else "begun", "")
        else:
            outcome = "refused" if isinstance(error, NotAllowedError) else "failed"
            self._record_vain(asked, who, outcome, error)
        self._recorder.settle(SETTLE_S)

    def _record_vain(self, asked: Asked, who: Actor, outcome: str, error: ServiceError) -> None:
        untold = self._admit()
        if untold is None:
            return
        left_out = f" ({untold} calls that came to nothing before it are not listed)"
        self._record(asked, who, outcome, f"{error}{left_out if untold else ''}")

    def _record(self, asked: Asked, who: Actor, outcome: str, reason: str) -> None:
        self._recorder.record(
            AuditEvent(
                asked.what,
                outcome,
                who=who,
                model=asked.model,
                version=asked.version,
                reason=reason,
            )
        )

    def _admit(self) -> int | None:
        """Return how many such calls went untold before this one; `None` where it does as well."""
        with self._lock:
            now = self._clock()
            self._left = min(float(BURST), self._left + (now - self._at) * PER_S)
            self._at = now
            if self._left < 1:
                self._untold += 1
                return None
            self._left -= 1
            untold, self._untold = self._untold, 0
            return untold


class NoCallAudit:
    """Where there is no audit log."""

    def refused(self, asked: Asked, who: Actor, error: ServiceError) -> None:
        pass

    def answered(self, asked: Asked, who: Actor, error: ServiceError | None) -> None:
        pass
