"""Threads of their own for agents; nobody waits for a call longer than it may take."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from interlock.control.workers import MAX_LOST, Workers
from interlock.runtime.clock import Clock, monotonic

THREADS: Final = 64
"""Of one model one thread at a time, so that this many models have their agents at work."""
NOTICE_S: Final = 30.0
"""After so long it is told that a call goes on, and again each time it has taken twice as long."""

OnNotice = Callable[[float], None]
"""Told, in the waiting thread, how many seconds a call has taken that still goes on."""


def quiet(_seconds: float) -> None:
    """Tell nobody."""


class Ending(Enum):
    """What became of a call."""

    RETURNED = "returned"
    OVER_TIME = "over time"
    """It goes on in its thread, which was replaced."""
    CUT_OFF = "cut off"
    """As before; or it has not begun, and will find itself cut off if it does."""
    NO_THREAD = "no thread"
    """It has not begun and never will: too many hang."""


class CutOff:
    """Says that nobody waits for something any more. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._is_cut = False
        self._wakers: set[Callable[[], None]] = set()

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def cut(self) -> None:
        """Let whoever waits go on, now and from now on."""
        with self._lock:
            self._is_cut = True
            wakers, self._wakers = self._wakers, set()
        for wake in wakers:
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` once if it is cut, before or in between."""
        with self._lock:
            is_cut = self._is_cut
            if not is_cut:
                self._wakers.add(wake)
        if is_cut:
            wake()
        try:
            yield
        finally:
            with self._lock:
                self._wakers.discard(wake)


class AgentPool:
    """Runs calls in at most `threads` threads and waits for them. Any thread may call.

    A call may take `timeout_s` from when it begins, 0 is for ever; then its thread is
    replaced, up to `max_lost` times. `notice_s` is how long it takes until it is told of.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 0.0,
        threads: int = THREADS,
        max_lost: int = MAX_LOST,
        notice_s: float = NOTICE_S,
        clock: Clock = monotonic,
    ) -> None:
        self.timeout_s = timeout_s
        self._notice_s = notice_s
        self._clock = clock
        self._workers = Workers("agent", threads, max_lost=max_lost)

    @property
    def lost(self) -> int:
        """How many threads are still inside a call that nobody waits for."""
        return self._workers.lost

    def run(
        self,
        call: Callable[[], None],
        cut_off: CutOff | None = None,
        on_notice: OnNotice = quiet,
    ) -> Ending:
        """Run `call`, which raises nothing, and wait until it is over or need not be waited for."""
        waited = _Waited(call)
        with (cut_off or CutOff()).waking(waited.cut):
            self._workers.submit(waited.run, dropped=waited.drop)
            waited.wait_begun()
            ending = self._wait(waited, on_notice)
        if ending in {Ending.OVER_TIME, Ending.CUT_OFF}:
            self._workers.write_off(waited.run)
        return ending

    def _wait(self, waited: "_Waited", on_notice: OnNotice) -> Ending:
        limit_s = self.timeout_s or math.inf
        notice_s = self._notice_s
        began = self._clock()
        seconds = 0.0
        while (ending := waited.wait(min(notice_s, limit_s) - seconds)) is None:
            seconds = self._clock() - began
            if seconds >= limit_s:
                return waited.give_up()
            if seconds >= notice_s:
                on_notice(seconds)
                notice_s = next_notice(notice_s, seconds)
        return ending


def next_notice(notice_s: float, seconds: float) -> float:
    """Return when to tell again of a call that was due after `notice_s`, and took `seconds`."""
    while notice_s <= seconds:
        notice_s *= 2
    return notice_s


class _Waited:
    """A call that somebody waits for."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        # One bound method, by which the pool knows it again.
        self.run = self._run
        self._changed = threading.Condition()  # guards the two below
        self._has_begun = False
        self._ending: Ending | None = None

    def _run(self) -> None:
        with self._changed:
            self._has_begun = True
            self._changed.notify_all()
        try:
            self._call()
        finally:
            self._end(Ending.RETURNED)

    def cut(self) -> None:
        self._end(Ending.CUT_OFF)

    def drop(self) -> None:
        self._end(Ending.NO_THREAD)

    def wait_begun(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._has_begun or self._ending)

    def wait(self, seconds: float) -> Ending | None:
        """Return how it ended; `None` where it goes on after so long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ending, max(0.0, seconds))

    def give_up(self) -> Ending:
        """Return how it ended, which is over time unless it did at this moment."""
        self._end(Ending.OVER_TIME)
        with self._changed:
            return self._ending or Ending.OVER_TIME

    def _end(self, ending: Ending) -> None:
        with self._changed:
            self._ending = self._ending or ending
            self._changed.notify_all()
