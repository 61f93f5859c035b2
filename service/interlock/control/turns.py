"""Who may change a model now: one at a time, in order of arrival; other models go beside it.

Whoever waited polls the repository when its turn has come, and so finds what is there then.
"""

import threading
from collections import deque

from interlock.control import answers
from interlock.domain.ids import ModelName


class Turns:
    """A line of callers for each model. Any thread may call anything here."""

    def __init__(self) -> None:
        # Guards the two others.
        self._lock = threading.Lock()
        self._lines: dict[ModelName, deque[threading.Event]] = {}
        self._closed = False

    def enter(self, model: ModelName, timeout_s: float | None = None) -> bool:
        """Wait for the turn, which lasts until `leave`; whether it came in time.

        Raise UnavailableError once closed.
        """
        turn = threading.Event()
        with self._lock:
            self._check_open()
            line = self._lines.setdefault(model, deque())
            line.append(turn)
            if len(line) == 1:
                turn.set()
        turn.wait(timeout_s)
        with self._lock:
            # Not what `wait` said: the turn may have come just after.
            came = turn.is_set()
            if self._closed or not came:
                self._remove(model, turn)
            self._check_open()
            return came

    def leave(self, model: ModelName) -> None:
        """End the turn of whoever is first in the line; any thread may do it."""
        with self._lock:
            self._remove(model, self._lines[model][0])

    def close(self) -> None:
        """Send everybody who waits away, and everybody who comes."""
        with self._lock:
            self._closed = True
            for line in self._lines.values():
                for turn in line:
                    turn.set()

    def _remove(self, model: ModelName, turn: threading.Event) -> None:
        line = self._lines[model]
        line.remove(turn)
        if line:
            line[0].set()
        else:
            del self._lines[model]

    def _check_open(self) -> None:
        if self._closed:
            raise answers.stopping()
