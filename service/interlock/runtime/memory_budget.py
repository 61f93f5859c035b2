"""Bound the bytes of what was received and not answered yet: past it, nothing more is received.

Clients then wait, held by HTTP/2, instead of the process being killed for its memory.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

Receive = Callable[[], object]


class MemoryBudget:
    """How many bytes may be pending. Any thread may call anything here.

    The size of a message is known only once it is there, so the limit is passed by what
    was being received when it was reached.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        # Guards the two below. A leaf: whoever waits is called after it is let go.
        self._lock = threading.Lock()
        self._used = 0
        # In the order of asking; a dictionary, because who waits may go away.
        self._waiting: OrderedDict[Receive, None] = OrderedDict()

    @property
    def used_bytes(self) -> int:
        return self._used

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def when_free(self, receive: Receive) -> None:
        """Call `receive` now, or once there is room, in the order of asking."""
        free: tuple[Receive, ...] = (receive,)
        if self._used >= self._limit or self._waiting:
            with self._lock:
                # Whoever waits comes first; with nothing pending nobody is left waiting.
                if self._used >= self._limit or self._waiting:
                    self._waiting[receive] = None
                    free = self._next()
        for one in free:
            one()

    def withdraw(self, receive: Receive) -> None:
        """Whoever asked will take nothing any more: wait no longer, or pass the turn on.

        Clients that give up while there is no room would otherwise pile up here.
        """
        with self._lock:
            self._waiting.pop(receive, None)
            free = self._next()
        for one in free:
            one()

    def take(self, size_bytes: int) -> None:
        """Count a message that has arrived; the next one that waits may come if there is room."""
        with self._lock:
            self._used += size_bytes
            free = self._next()
        for one in free:
            one()

    def give_back(self, size_bytes: int) -> None:
        """Count a message that has been answered."""
        with self._lock:
            self._used -= size_bytes
            free = self._next()
        for one in free:
            one()

    def _next(self) -> tuple[Receive, ...]:
        """Take out who may receive now.

        One at a time near the limit. Below half of it all: one that waits may be a stream
        whose client has nothing to say, and would then never give the turn to the next.
        """
        if not self._waiting or self._used >= self._limit:
            return ()
        if self._used * 2 >= self._limit:
            return (self._waiting.popitem(last=False)[0],)
        free = tuple(self._waiting)
        self._waiting.clear()
        return free
