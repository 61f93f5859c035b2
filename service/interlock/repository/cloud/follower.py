"""Follow remote repositories in poll mode: look at them now and then, in a thread of its own.

A download of an hour then holds up neither the scans of other repositories nor a shutdown.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from interlock.repository.cloud.root import CloudRoot, Synced
from interlock.repository.namespaces import SEPARATOR
from interlock.repository.scan import Scan, Scanner
from interlock.runtime.clock import Clock
from interlock.runtime.threads import OnDeath, spawn

log = structlog.get_logger()

_MIN_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last look at all remote repositories found to be in the way."""

    problems: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()


class Follower:
    """Keeps the mirrors in line, every `interval_s`, or sooner where something moves.

    `step` belongs to one thread: the one that `start` makes, or a test. `hint` is called in
    it when there is something to scan. What moves at the start is waited for during
    `patience_s`.
    """

    def __init__(
        self,
        roots: Sequence[CloudRoot],
        *,
        interval_s: float,
        patience_s: float,
        clock: Clock,
        hint: Callable[[], None],
    ) -> None:
        self._roots = tuple(roots)
        self._interval_s = interval_s
        self._clock = clock
        self._hint = hint
        self._first_until = clock() + patience_s
        self._has_looked = threading.Event()
        self._closing = threading.Event()
        # Written by the stepping thread, by assignment; read by any.
        self.seen = Seen()

    def start(self, on_death: OnDeath | None = None) -> None:
        """Start the follower's thread."""
        spawn("cloud-follower", self.run, on_death=on_death)

    def wait_for_first_look(self) -> None:
        """Return when the mirrors hold what was there at the start, or at `close`."""
        self._has_looked.wait()

    def close(self) -> None:
        """Look no more, and end what is being fetched. Does not wait."""
        self._closing.set()
        for root in self._roots:
            root.close()
        self._has_looked.set()

    def run(self) -> None:
        """Step whenever it is time, until `close`."""
        while not self._closing.is_set():
            try:
                due = self.step()
            except Exception:  # what one look meets must not be the end of all of them
                log.exception("looking at remote repositories failed unexpectedly")
                due = self._clock() + self._interval_s
                self._has_looked.set()
            self._closing.wait(max(_MIN_PAUSE_S, due - self._clock()))

    def step(self) -> float:
        """Look at every repository once; return when (monotonic) to come again."""
        every = [root.sync() for root in self._roots]
        before, self.seen = self.seen, _seen(every)
        now = self._clock()
        times = [synced.next_look for synced in every if synced.next_look is not None]
        if not times or now >= self._first_until:
            self._has_looked.set()
        if self.seen != before or any(synced.is_changed for synced in every):
            self._hint()
        return min([now + self._interval_s, *times])


@dataclass(frozen=True, slots=True)
class CloudScanner:
    """Scans repositories of which some are mirrors; what the follower could not see is unknown."""

    scanner: Scanner
    follower: Follower

    def scan(self) -> Scan:
        """Scan what is on the disk; the first time when the mirrors have been filled."""
        self.follower.wait_for_first_look()
        seen = self.follower.seen
        scan = self.scanner.scan()
        unknown = {name for name in scan.models if name.rpartition(SEPARATOR)[2] in seen.unknown}
        return replace(
            scan,
            unknown=scan.unknown | unknown | (seen.unknown & scan.models.keys()),
            problems={**scan.problems, **seen.problems},
        )


def _seen(every: Sequence[Synced]) -> Seen:
    problems: dict[str, str] = {}
    for synced in every:
        problems.update(synced.problems)
    return Seen(problems, frozenset().union(*(synced.unknown for synced in every)))
