"""The last moves of all versions in the order in which they came, for whoever follows them.

A reader keeps nothing here but the position up to which it has read, so that one that does
not come back costs nothing. The moves are capped: who missed some of them gets everything as
it is now.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from interlock.control.index import ModelView
from interlock.domain.ids import ModelName
from interlock.domain.transition import News, Transition

KEPT_MOVES: Final = 4096


class Events:
    """The manager publishes; any thread reads, and nobody waits."""

    def __init__(self, *, kept: int = KEPT_MOVES) -> None:
        # Guards the three others. A leaf.
        self._lock = threading.Lock()
        self._moves: deque[Transition] = deque(maxlen=kept)
        self._views: Mapping[ModelName, ModelView] = {}
        self._position = 0

    def publish(self, moves: Sequence[Transition], views: Mapping[ModelName, ModelView]) -> None:
        """Add the moves that led to these views."""
        with self._lock:
            self._moves.extend(moves)
            self._position += len(moves)
            self._views = views

    def news(self, position: int | None) -> News:
        """Return what has happened since `position`, or where everything is now.

        The latter for `None`, and where some of what has happened is no longer kept.
        """
        with self._lock:
            now, views = self._position, self._views
            if position is not None and now - position <= len(self._moves):
                newest_first = tuple(islice(reversed(self._moves), now - position))
                return News(now, moves=newest_first[::-1])
        return News(
            now,
            snapshot=tuple(
                generation.state
                for model in sorted(views)
                for generation in views[model].generations
            ),
        )
