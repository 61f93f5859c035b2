"""Watch the loads that go on: tell of those that take long, write off those that take too long.

A thread cannot be killed. A load that is written off goes on in its thread; what matters is
that nobody waits for it any more, and that it hears of it where it can.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from interlock.domain.errors import UnavailableError
from interlock.domain.ids import GenerationKey
from interlock.runtime.clock import Clock
from interlock.runtime.threads import spawn
from interlock.serving.load_job import LoadPhase

log = structlog.get_logger()

NOTICE_S: Final = 30.0
"""After so long a load is told of in the log, and again each time as much has passed."""

WriteOff = Callable[[UnavailableError], None]


class WrittenOffError(UnavailableError):
    """Raised inside a load that was written off: nothing that it still does is of use."""

    def __init__(self) -> None:
        super().__init__("the load was written off")


class OverTimeError(UnavailableError):
    """The load took too long and was written off; its thread may hang in it for ever."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt to load a version, from its beginning. Times are the watch's clock's."""

    key: GenerationKey
    write_off: WriteOff
    began: float
    next_notice: float
    entered: float
    phase: str = "loading"

    def over_time(self, timeout_s: float, now: float) -> OverTimeError:
        """Return the reason with which the version fails."""
        return OverTimeError(
            f"load given up after {now - self.began:.4g} s, of which {self.phase} "
            f"{now - self.entered:.4g} s: it may take no longer than "
            f"--model-load-timeout-secs={timeout_s:g}"
        )


class LoadWatch:
    """Knows every load that goes on. Any thread may call; `look` belongs to one at a time.

    A load may take `timeout_s`, 0 is for ever; then `write_off` of its attempt is called, in
    the thread that watches. That thread sleeps from one moment at which something is due to
    the next, and is there only while something loads, or did when it fell asleep.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        timeout_s: float = 0.0,
        notice_s: float = NOTICE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._notice_s = notice_s
        self._sleep = sleep
        # Guards the two below, and the fields of each attempt.
        self._lock = threading.Lock()
        self._attempts: dict[Attempt, None] = {}
        self._watched = False

    def begin(self, key: GenerationKey, write_off: WriteOff) -> Attempt:
        """Watch an attempt from now on, until `end` or until it is written off."""
        now = self._clock()
        attempt = Attempt(key, write_off, began=now, entered=now, next_notice=now + self._notice_s)
        with self._lock:
            self._attempts[attempt] = None
            watched, self._watched = self._watched, True
        if not watched:
            spawn("load-watch", self.run)
        return attempt

    def enter(self, attempt: Attempt, phase: LoadPhase) -> None:
        """The attempt has come to a phase. Raise WrittenOffError where it need not go on."""
        with self._lock:
            if attempt not in self._attempts:
                raise WrittenOffError
            attempt.phase = phase.value
            attempt.entered = self._clock()

    def end(self, attempt: Attempt) -> bool:
        """The attempt has ended; False where it was written off before."""
        with self._lock:
            going_on = attempt in self._attempts
            self._attempts.pop(attempt, None)
            return going_on

    def seconds_of(self, attempt: Attempt) -> float:
        """Return how long ago the attempt began."""
        return self._clock() - attempt.began

    def look(self) -> float | None:
        """Do one round; return after how many seconds the next is due, `None` for no more."""
        now = self._clock()
        with self._lock:
            over = [one for one in self._attempts if self._is_over_time(one, now)]
            for attempt in over:
                del self._attempts[attempt]
            slow = [one for one in self._attempts if now >= one.next_notice]
            notices = [_notice(attempt, now) for attempt in slow]
            for attempt in slow:
                attempt.next_notice = now + self._notice_s
            due = min(map(self._due, self._attempts), default=None)
        for notice in notices:
            log.warning("still loading", **notice)
        self._write_off(over, now)
        return None if due is None else max(0.0, due - now)

    def run(self) -> None:
        """Look whenever something is due, until there is nothing left to watch.

        What begins during a sleep is due no earlier than what the sleep waits for.
        """
        while True:
            wait_s = self.look()
            with self._lock:
                if not self._attempts:
                    self._watched = False
                    return
            # `None` where the first one began after the look.
            self._sleep(wait_s or 0)

    def _is_over_time(self, attempt: Attempt, now: float) -> bool:
        return bool(self._timeout_s) and now - attempt.began >= self._timeout_s

    def _due(self, attempt: Attempt) -> float:
        if not self._timeout_s:
            return attempt.next_notice
        return min(attempt.next_notice, attempt.began + self._timeout_s)

    def _write_off(self, attempts: Sequence[Attempt], now: float) -> None:
        for attempt in attempts:
            try:
                attempt.write_off(attempt.over_time(self._timeout_s, now))
            except Exception:  # the others are still to be watched
                log.exception("a load could not be written off", model=attempt.key.model)


def _notice(attempt: Attempt, now: float) -> dict[str, object]:
    return {
        "model": attempt.key.model,
        "version": attempt.key.version,
        "generation": attempt.key.generation,
        "phase": attempt.phase,
        "seconds": round(now - attempt.began),
    }
