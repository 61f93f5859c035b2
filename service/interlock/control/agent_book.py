"""Keep what repository agents made of each generation, for as long as somebody may ask.

That is until the generation is over; of one that failed, until another generation of its
version has a verdict.
"""

import threading
from collections.abc import Iterable, Mapping

from interlock.control.agent_hearing import Judged
from interlock.control.lifecycle import OVER, Phase, Transition
from interlock.domain.ids import GenerationKey


class VerdictBook:
    """Verdicts by generation. Any thread may call; nothing blocks."""

    def __init__(self) -> None:
        # Guards the two below. A leaf.
        self._lock = threading.Lock()
        self._judged: dict[GenerationKey, Judged] = {}
        self._failed: set[GenerationKey] = set()

    def write(self, keys: Iterable[GenerationKey], judged: Judged) -> None:
        """Let these generations have a verdict, in the place of the one that they had."""
        with self._lock:
            for key in keys:
                self._drop(old for old in self._failed if old.version_key == key.version_key)
                self._judged[key] = judged

    def amend(self, key: GenerationKey, before: Judged, after: Judged) -> None:
        """Let a generation have another verdict, if it has the one that this comes of still."""
        with self._lock:
            if self._judged.get(key) is before:
                self._judged[key] = after

    def judged(self, key: GenerationKey) -> Judged | None:
        """Return what was found of a generation, `None` where nobody has seen it."""
        with self._lock:
            return self._judged.get(key)

    def entries(self) -> Mapping[GenerationKey, Judged]:
        """Return all that there are now."""
        with self._lock:
            return dict(self._judged)

    def moved(self, move: Transition) -> None:
        """Hear what became of a generation."""
        if move.after not in OVER:
            return
        with self._lock:
            if move.after is not Phase.FAILED:
                self._drop((move.key,))
            elif move.key in self._judged:
                self._failed.add(move.key)

    def _drop(self, keys: Iterable[GenerationKey]) -> None:
        for key in tuple(keys):
            self._judged.pop(key, None)
            self._failed.discard(key)
