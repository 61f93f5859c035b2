"""Keep what repository agents made of each generation, for as long as somebody may ask.

That is until the generation is over; of one that failed, until another generation of its
version has a verdict.
"""

import threading
from collections.abc import Iterable

from interlock.control.agent_verdicts import Verdict
from interlock.control.lifecycle import OVER, Phase, Transition
from interlock.domain.ids import GenerationKey


class VerdictBook:
    """Verdicts by generation. Any thread may call; nothing blocks."""

    def __init__(self) -> None:
        # Guards the two below. A leaf.
        self._lock = threading.Lock()
        self._verdicts: dict[GenerationKey, Verdict] = {}
        self._failed: set[GenerationKey] = set()

    def write(self, keys: Iterable[GenerationKey], verdict: Verdict) -> None:
        """Let these generations have a verdict, in the place of the one that they had."""
        with self._lock:
            for key in keys:
                self._drop(old for old in self._failed if old.version_key == key.version_key)
                self._verdicts[key] = verdict

    def verdict_of(self, key: GenerationKey) -> Verdict | None:
        """Return what was found of a generation, `None` where no agents have seen it."""
        with self._lock:
            return self._verdicts.get(key)

    def moved(self, move: Transition) -> None:
        """Hear what became of a generation."""
        if move.after not in OVER:
            return
        with self._lock:
            if move.after is not Phase.FAILED:
                self._drop((move.key,))
            elif move.key in self._verdicts:
                self._failed.add(move.key)

    def _drop(self, keys: Iterable[GenerationKey]) -> None:
        for key in tuple(keys):
            self._verdicts.pop(key, None)
            self._failed.discard(key)
