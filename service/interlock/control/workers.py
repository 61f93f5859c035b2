"""At most so many threads at a time for blocking work, none where there is no work."""

import threading
from collections import deque
from collections.abc import Callable

from interlock.runtime.threads import spawn

Task = Callable[[], None]


class Workers:
    """Does tasks in the order in which they came, at most `size` at once. Any thread may call.

    Unlike an executor of the standard library it does not wait for its threads when the
    process ends, so that one that hangs in foreign code cannot keep it alive.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        # Guards the two below.
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Task, Task]] = deque()
        self._free = set(range(size))

    def submit(self, task: Task, *, dropped: Task) -> None:
        """Do `task` when a thread is free, `dropped` if it is given up before. Neither raises."""
        with self._lock:
            self._waiting.append((task, dropped))
            if not self._free:
                return
            number = min(self._free)
            self._free.remove(number)
        spawn(f"{self._name}-{number}", lambda: self._work(number))

    def drop_waiting(self) -> None:
        """Give up what has not begun."""
        with self._lock:
            given_up = list(self._waiting)
            self._waiting.clear()
        for _, dropped in given_up:
            dropped()

    def _work(self, number: int) -> None:
        while task := self._next(number):
            task()

    def _next(self, number: int) -> Task | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()[0]
            self._free.add(number)
            return None
