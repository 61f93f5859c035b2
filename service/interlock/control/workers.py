"""At most so many threads at a time for blocking work, none where there is no work."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from interlock.runtime.threads import spawn

Task = Callable[[], None]

MAX_LOST: Final = 32
"""How many threads may hang in work that was written off before they are no longer replaced."""


class Workers:
    """Does tasks in the order in which they came, at most `size` at once. Any thread may call.

    Unlike an executor of the standard library it does not wait for its threads when the
    process ends, so that one that hangs in foreign code cannot keep it alive. A task that
    hangs can be written off: another thread takes the place, up to `max_lost` times.
    """

    def __init__(self, name: str, size: int, *, max_lost: int = MAX_LOST) -> None:
        self._name = name
        self._size = size
        self._max_lost = max_lost
        # Guards all below.
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Task, Task]] = deque()
        self._free = set(range(size))
        self._running: dict[int, Task] = {}
        self._lost = 0
        # Places whose task was written off when there was no thread left for a replacement.
        self._blocked: set[int] = set()

    @property
    def lost(self) -> int:
        """How many threads are still inside a task that was written off."""
        with self._lock:
            return self._lost + len(self._blocked)

    @property
    def is_blocked(self) -> bool:
        """Whether every thread hangs, and none of them is replaced any more."""
        with self._lock:
            return self._is_blocked()

    def submit(self, task: Task, *, dropped: Task) -> None:
        """Do `task` when a thread is free, `dropped` if it is given up before. Neither raises.

        While `is_blocked`, everything is given up.
        """
        with self._lock:
            if not (blocked := self._is_blocked()):
                self._waiting.append((task, dropped))
            start = self._begin_next()
        start()
        if blocked:
            dropped()

    def drop_waiting(self) -> None:
        """Give up what has not begun."""
        with self._lock:
            given_up = self._take_waiting()
        for dropped in given_up:
            dropped()

    def write_off(self, task: Task) -> bool:
        """Let another thread take the place of the one that hangs in `task`.

        False where too many hang already: the place is taken again once the task ends. A
        task that has ended meanwhile is left alone.
        """
        with self._lock:
            number = next((one for one, running in self._running.items() if running is task), None)
            if number is None:
                return True
            replaced = self._lost < self._max_lost
            if replaced:
                self._lost += 1
                del self._running[number]
                self._free.add(number)
            else:
                self._blocked.add(number)
            given_up = self._take_waiting() if self._is_blocked() else []
            start = self._begin_next()
        start()
        for dropped in given_up:
            dropped()
        return replaced

    def _is_blocked(self) -> bool:
        return len(self._blocked) == self._size

    def _take_waiting(self) -> list[Task]:
        given_up = [dropped for _, dropped in self._waiting]
        self._waiting.clear()
        return given_up

    def _begin_next(self) -> Task:
        """Give the first that waits a free place; return what starts its thread, unlocked."""
        if not self._waiting or not self._free:
            return _nothing
        number = min(self._free)
        self._free.remove(number)
        task = self._running[number] = self._waiting.popleft()[0]
        return lambda: _start(f"{self._name}-{number}", lambda: self._work(number, task))

    def _work(self, number: int, first: Task) -> None:
        task: Task | None = first
        while task:
            task()
            task = self._next(number, task)

    def _next(self, number: int, done: Task) -> Task | None:
        with self._lock:
            if self._running.get(number) is not done:
                # Written off while it hung: the place is another thread's.
                self._lost -= 1
                return None
            self._blocked.discard(number)
            if self._waiting:
                task = self._running[number] = self._waiting.popleft()[0]
                return task
            del self._running[number]
            self._free.add(number)
            return None


def _start(name: str, target: Task) -> None:
    spawn(name, target)


def _nothing() -> None:
    """Start nothing."""
