"""What unloading versions gave back to the system."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Freed:
    """By how many bytes the process shrank over an unload, and what it has in memory since.

    Both are the whole process's: what goes on beside the unload shows in them. They are 0
    where the system does not tell.
    """

    freed_bytes: int = 0
    resident_bytes: int = 0


@dataclass(slots=True, eq=False)
class Measurement:
    """One unload that is being measured; `freed` is there when it has ended."""

    level_bytes: int
    freed: Freed = field(default_factory=Freed)


class FreedMeter:
    """Measures unloads, several at once: what went meanwhile is counted for one of them alone.

    Any thread.
    """

    def __init__(self, resident_bytes: Callable[[], int]) -> None:
        self._resident_bytes = resident_bytes
        # Guards the measurements that go on. A leaf.
        self._lock = threading.Lock()
        self._going_on: list[Measurement] = []

    @contextmanager
    def measuring(self) -> Iterator[Measurement]:
        """Measure what is done inside, whether it raises or not."""
        with self._lock:
            mine = Measurement(self._resident_bytes())
            self._going_on.append(mine)
        try:
            yield mine
        finally:
            with self._lock:
                now = self._resident_bytes()
                mine.freed = Freed(max(0, mine.level_bytes - now), now)
                self._going_on.remove(mine)
                for other in self._going_on:
                    other.level_bytes = min(other.level_bytes, now)
